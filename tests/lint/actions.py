# SPDX-License-Identifier: BSD-2-Clause
"""
GitHub actions and workflows (packaging/ci/github): as much of their language as ours use, so that a
word which GitHub does not know, an output or input that is nowhere, or a mistake in a shell step is
found here and not by whoever copies them. Needs python3-yaml and shellcheck.

Expressions may stand in values only, not in shell text: there a value could end a string and become
a command.
"""
import os
import re
from findings import Finding

STEP = {"id", "name", "if", "uses", "with", "env", "run", "shell", "working-directory"}
JOB = {"name", "needs", "runs-on", "timeout-minutes", "env", "outputs", "permissions", "steps"}
KEYS = {
    "workflow": {"name", "on", "permissions", "env", "jobs"},
    "action": {"name", "description", "inputs", "outputs", "runs"},
    "runs": {"using", "steps"},
    "input": {"description", "required", "default"},
    "output": {"description", "value"},
}
NEEDED = {
    "workflow": {"on", "jobs"},
    "action": {"name", "description", "runs"},
    "runs": {"using", "steps"},
    "input": {"description"},
    "output": {"description", "value"},
    "job": {"runs-on", "steps"},
}
# What GitHub sets for each shell step.
RUNNER = "GITHUB_OUTPUT GITHUB_ENV GITHUB_ACTION_PATH GITHUB_WORKSPACE RUNNER_TEMP"


class Checker:
    def __init__(self, project, path, shellcheck):
        self.path = path
        self.lines = project.lines(path)
        self.shellcheck = shellcheck
        self.found = []
        self.actions = {}       # what follows the owner's name -> (inputs, outputs) of an action

    def say(self, what, text, near=None):
        line = next((n for n, l in enumerate(self.lines, 1) if near and near in l), 1)
        self.found.append(Finding(self.path, line, "actions", what, text))

    def keys(self, kind, tree, known=None):
        """A table with these keys; an empty one in place of what is none."""
        if not isinstance(tree, dict):
            self.say(kind, f"a table of a {kind} is expected, not {tree!r}")
            return {}
        for key in sorted(map(str, set(tree) - (known or KEYS[kind]))):
            self.say(key, f"a {kind} has no \"{key}\"", key + ":")
        for key in sorted(NEEDED.get(kind, set()) - set(tree)):
            self.say(key, f"a {kind} needs \"{key}\"")
        return tree

    def expressions(self, tree, steps, inputs):
        """Each expression names an output of a step before it, or an input."""
        for text in re.findall(r"\$\{\{(.*?)\}\}", str(tree)):
            step = re.fullmatch(r" steps\.([\w-]+)\.outputs\.([\w-]+) ", text)
            given = re.fullmatch(r" inputs\.([\w-]+) ", text)
            if step and step[1] in steps and step[2] in steps[step[1]]:
                continue
            if given and given[1] in inputs:
                continue
            self.say(text.strip(), "names no output of a step above, and no input", text)

    def outputs_of(self, step):
        """What a step sets: an action says so; a shell step by the words NAME= in its text."""
        if "uses" in step:
            for end, (_, outputs) in self.actions.items():
                if end in step["uses"]:
                    return outputs
            return set()
        # setup-rdma.sh --write sets these.
        return {"device", "gid", "address"} if "setup-rdma.sh" in step.get("run", "") else \
            set(re.findall(r"\b([\w-]+)=", step.get("run", "")))

    def step(self, step, needs_shell):
        step = self.keys("step", step, STEP)
        if ("run" in step) == ("uses" in step):
            self.say("step", f"a step has either \"run\" or \"uses\": {step}")
        if "run" in step:
            if needs_shell and step.get("shell") != "bash":
                self.say("shell", "a shell step of an action needs \"shell: bash\"",
                         str(step["run"]).split("\n", 1)[0])
            if "${{" in str(step["run"]):
                self.say("run", "an expression in shell text: give it by \"env\"", "${{")
            else:
                names = " ".join([RUNNER, *step.get("env", {})])
                for text, code in self.shellcheck(names, str(step["run"])):
                    self.say(code, text, str(step["run"]).split("\n", 1)[0])
        elif "uses" in step:
            known = [inputs for end, (inputs, _) in self.actions.items() if end in step["uses"]]
            for name in step.get("with", {}):
                if known and name not in known[0]:
                    self.say(name, f"{step['uses']} has no input \"{name}\"", name + ":")
            if not re.search(r"@[\w.-]+$", step["uses"]):
                self.say("uses", f"{step['uses']} names no version", step["uses"])
        return step

    def steps(self, tree, inputs, needs_shell):
        """id -> outputs, of all steps"""
        done = {}
        for step in tree if isinstance(tree, list) else []:
            step = self.step(step, needs_shell)
            self.expressions({k: v for k, v in step.items() if k != "run"}, done, inputs)
            if "id" in step:
                done[step["id"]] = self.outputs_of(step)
        return done

    def action(self, tree):
        """Its inputs and outputs"""
        tree = self.keys("action", tree)
        inputs, outputs = tree.get("inputs", {}), tree.get("outputs", {})
        runs = self.keys("runs", tree.get("runs"))
        if runs.get("using") != "composite":
            self.say("using", "only composite actions are known here", "using:")
        done = self.steps(runs.get("steps"), inputs, True)
        for kind, table in (("input", inputs), ("output", outputs)):
            for entry in table.values():
                self.keys(kind, entry)
        self.expressions(outputs, done, inputs)
        return set(inputs), set(outputs)

    def workflow(self, tree):
        tree = self.keys("workflow", tree)
        for job in tree.get("jobs", {}).values():
            job = self.keys("job", job, JOB)
            self.expressions(job.get("outputs"), self.steps(job.get("steps"), (), False), ())


def check(project, shellcheck):
    """shellcheck(names, text): (what it says, code) of a shell step that has these variables"""
    import yaml
    found, actions = [], {}
    # Actions first: workflows use them.
    for path in sorted(project.files("packaging/ci/github/*.yml"),
                       key=lambda p: not p.endswith("/action.yml")):
        checker = Checker(project, path, shellcheck)
        checker.actions = actions
        try:
            tree = yaml.safe_load(project.texts[path])
        except yaml.YAMLError as e:
            checker.say("yaml", str(e).replace("\n", " "))
        else:
            if path.endswith("/action.yml"):
                actions["/" + os.path.dirname(path) + "@"] = checker.action(tree)
            else:
                checker.workflow(tree)
        found += checker.found
    return found
