#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Run the steps of a workflow on this machine, as much of GitHub's language as packaging/ci uses:

    github.py TOP WORKFLOW [INPUT=VALUE]...

TOP is the project. A step that uses the project's action runs the steps of that action, with these
inputs; steps that use others' actions are left out. tests/lint/actions.py has looked at the files.
"""
import os
import re
import subprocess
import sys
import tempfile
import yaml


def load(path):
    with open(path) as f:
        return yaml.safe_load(f)


def resolve(text, outputs, inputs):
    def value(m):
        step = re.fullmatch(r"steps\.([\w-]+)\.outputs\.([\w-]+)", m[1])
        if step:
            return outputs[step[1]][step[2]]
        return inputs[re.fullmatch(r"inputs\.([\w-]+)", m[1])[1]]
    return re.sub(r"\$\{\{ (.*?) \}\}", value, str(text))


def shell(step, outputs, inputs, action):
    """Run a shell step; what it wrote to GITHUB_OUTPUT"""
    print(f"--- {step.get('name', step.get('id', 'step'))}", flush=True)
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script, \
         tempfile.NamedTemporaryFile("r") as written:
        script.write(step["run"])
        script.flush()
        env = {**os.environ, "GITHUB_OUTPUT": written.name, "GITHUB_ACTION_PATH": action}
        env.update({k: resolve(v, outputs, inputs) for k, v in step.get("env", {}).items()})
        cmd = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script.name]
        done = subprocess.run(cmd, env=env)
        if done.returncode:
            sys.exit(f"the step failed: exit status {done.returncode}")
        return dict(line.rstrip("\n").split("=", 1) for line in written)


def steps(tree, inputs, top, action=""):
    outputs = {}
    for step in tree:
        used = re.fullmatch(r"OWNER/prxe/(.*)@.*", step.get("uses", ""))
        if used:
            path = os.path.join(top, used[1])
            tree = load(os.path.join(path, "action.yml"))
            given = {k: v.get("default", "") for k, v in tree["inputs"].items()}
            given.update(inputs)
            inner = steps(tree["runs"]["steps"], given, top, path)
            got = {k: resolve(v["value"], inner, given) for k, v in tree["outputs"].items()}
        elif "run" in step:
            got = shell(step, outputs, inputs, action)
        else:
            continue
        outputs[step.get("id")] = got
    return outputs


def main(top, workflow, *given):
    inputs = dict(word.split("=", 1) for word in given)
    for job in load(workflow)["jobs"].values():
        # Steps run in the workspace, which belongs to the user.
        with tempfile.TemporaryDirectory() as workspace:
            os.chdir(workspace)
            steps(job["steps"], inputs, top)
            os.chdir(top)


if __name__ == "__main__":
    main(*sys.argv[1:])
