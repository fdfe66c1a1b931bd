# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Make tables, CSV and a page with plots from samples. Needs only bash and awk.
#
#   rp_open DIR                 the measurements: DIR/samples.tsv, machine.txt, commands.txt
#   rp_median METRIC SIZE VARIANT            the median of the runs, '' when there is none
#   rp_ratio METRIC SIZE VARIANT TO          VARIANT's median by that of TO
#   rp_pairs METRIC SIZE VARIANT TO          the lowest and the highest ratio of the single pairs
#   rp_is_sure METRIC SIZE VARIANT TO        do the ratios of the pairs agree within a factor of 2,
#                                            or are all at most 0.5, or all at least 2?
#   rp_num VALUE / rp_us MICROSECONDS / rp_size BYTES      for people
#   rp_csv                      the CSV of all medians
#   rp_bars TITLE UNIT higher|lower [log]    an SVG from standard input's lines, tab separated:
#                                            group, series, median, lowest, highest; or group,
#                                            series, three empty fields, what stands there instead
#   rp_bar GROUP SERIES METRIC SIZE VARIANT  such a line
#   rp_lines TITLE UNIT WHAT                 an SVG of values over seconds, from lines
#                                            at COLOUR DASHED NAME SECONDS VALUE  (NAME, if any, is
#                                                      written beside the line)
#                                            mark SECONDS TEXT                    a vertical line
#                                            level VALUE TEXT                     a horizontal line
#   rp_legend SERIES...                      one legend for all plots that follow: SERIES in the
#                                            order in which each rp_bars has them
#   rp_head TITLE / rp_foot     the page around it
#   rp_table                    rows of a page's table from standard input
#   rp_machine_html, rp_commands_html

rp_open() { # DIR
	RP=$1
	[ -s "$RP/samples.tsv" ] || {
		echo "error: there are no measurements in $RP" >&2
		return 1
	}
}

rp_median() { # METRIC SIZE VARIANT
	awk -F'\t' -v m="$1" -v s="$2" -v v="$3" '$1 == m && $2 == s && $3 == v { print $6 }' \
		"$RP/samples.tsv" | sort -g |
		awk '
			{ a[NR] = $1 }
			END {
				if (!NR) exit
				print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2
			}'
}

rp_ratios() { # METRIC SIZE VARIANT TO
	awk -F'\t' -v m="$1" -v s="$2" -v v="$3" -v t="$4" '
		$1 == m && $2 == s && $3 == v { x[$4] = $6 }
		$1 == m && $2 == s && $3 == t { y[$4] = $6 }
		END { for (p in x) if (y[p] > 0) print x[p] / y[p] }' "$RP/samples.tsv" | sort -g
}
rp_ratio() {
	awk -v x="$(rp_median "$1" "$2" "$3")" -v y="$(rp_median "$1" "$2" "$4")" \
		'BEGIN { if (x != "" && y > 0) printf "%.4g\n", x / y }'
}
rp_pairs() {
	local -a ends
	mapfile -t ends < <(rp_ratios "$@" | sed -n '1p;$p')
	[ ${#ends[@]} -lt 2 ] ||
		printf '%s .. %s\n' "$(rp_small "${ends[0]}")" "$(rp_small "${ends[1]}")"
}
rp_is_sure() {
	rp_ratios "$@" | awk '
		NR == 1 { lo = $1 }
		{ hi = $1 }
		END { exit hi > 2 * lo && hi > 0.5 && lo < 2 }'
}
rp_small() { # RATIO
	awk -v r="${1:-}" 'BEGIN {
		if (r == "") print "-"
		else printf((r < 0.01 ? "%.5f\n" : r < 0.1 ? "%.3f\n" : "%.2f\n"), r) }'
}

rp_num() { # VALUE
	awk -v x="${1:-}" 'BEGIN {
		if (x == "") print "-"
		else if (x >= 100) printf "%.0f\n", x
		else if (x >= 10) printf "%.1f\n", x
		else printf "%.2f\n", x }'
}

rp_us() { # MICROSECONDS
	awk -v x="${1:-}" 'BEGIN {
		u = "us"
		if (x == "") { print "-"; exit }
		if (x >= 1000) { x /= 1000; u = "ms" }
		if (x >= 1000) { x /= 1000; u = "s" }
		printf((x >= 100 ? "%.0f %s\n" : (x >= 10 ? "%.1f %s\n" : "%.2f %s\n")), x, u) }'
}

rp_size() { # BYTES
	awk -v x="$1" 'BEGIN {
		split("B KiB MiB GiB TiB", u, " ")
		for (i = 1; x >= 1024 && i < 5; i++) x /= 1024
		printf "%g %s\n", x, u[i] }'
}

rp_csv() {
	echo "metric,size_bytes,variant,unit,runs,median,min,max"
	LC_ALL=C sort -t"$(printf '\t')" -k1,1 -k2,2n -k3,3 -k6,6g "$RP/samples.tsv" | awk -F'\t' '
		function flush() {
			if (n) printf "%s,%s,%s,%s,%d,%s,%s,%s\n", m, s, v, u, n,
				n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2, a[1], a[n]
			n = 0
		}
		$1 != m || $2 != s || $3 != v { flush(); m = $1; s = $2; v = $3; u = $5 }
		{ a[++n] = $6 }
		END { flush() }'
}

rp_machine() { awk -F'\t' '{ printf "  %-12s %s\n", $1, $2 }' "$RP/machine.txt"; }

rp_escape() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g'; }

# The lowest and the highest value of the runs, tab separated, for rp_bars.
rp_spread() { # METRIC SIZE VARIANT
	awk -F'\t' -v m="$1" -v s="$2" -v v="$3" '$1 == m && $2 == s && $3 == v { print $6 }' \
		"$RP/samples.tsv" | sort -g |
		awk 'NR == 1 { lo = $1 } { hi = $1 } END { if (NR) printf "%s\t%s", lo, hi }'
}

rp_bar() { # GROUP SERIES METRIC SIZE VARIANT: a line for rp_bars
	printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$(rp_median "$3" "$4" "$5")" \
		"$(rp_spread "$3" "$4" "$5")"
}

# For both kinds of plot, in awk: the distance of the ticks of an axis that ends at max. It is 1, 2
# or 5 times a power of ten, such that there are 3 to 7 ticks.
# shellcheck disable=SC2016 # $ is awk's
RP_AWK='
	function step(max,  s) {
		if (max <= 0) return 1
		s = 10 ^ int(log(max) / log(10) - (max < 1))
		return max < 1.5 * s ? s / 5 : max < 3 * s ? s / 2 : max < 6 * s ? s : 2 * s
	}'

# One legend for all plots after it, instead of one in each. It stays in sight.
rp_legend() { # SERIES...
	local i=0 name
	RP_LEGEND=page
	printf '<p class="legend">'
	for name; do
		i=$((i + 1))
		printf '<span><svg width="12" height="12"><rect width="12" height="12"'
		printf ' class="c%d"/></svg> %s</span>\n' $i "$(rp_escape <<<"$name")"
	done
	printf '</p>\n'
}

rp_bars() { # TITLE UNIT higher|lower [log]
	rp_escape | awk -F'\t' -v title="$1" -v unit="$2" -v better="$3" -v log_="${4:-}" \
		-v legend="${RP_LEGEND:-plot}" "$RP_AWK"'
		function show(x) {
			if (unit == "us")
				return x >= 1e6 ? sprintf("%.3g s", x / 1e6) : \
					x >= 1000 ? sprintf("%.3g ms", x / 1000) : \
					sprintf("%.3g us", x)
			return x >= 1e6 ? sprintf("%.3g M", x / 1e6) : \
				x >= 100 ? sprintf("%.0f", x) : sprintf("%.3g", x)
		}
		function at(x) {
			return x <= 0 ? 0 : ((log_ ? log(x) : x) - lo) / (hi - lo) * width
		}
		function text(x, y, what, more) {
			printf "<text x=\"%.1f\" y=\"%d\"%s>%s</text>\n", x, y, more, what
		}
		function line(x1, y1, x2, y2, class) {
			printf "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"", x1, y1, x2, y2
			printf " class=\"%s\"/>\n", class
		}
		function rect(x, y, w, h, j) {
			printf "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"", x, y, w, h
			printf " class=\"c%d\"/>\n", j
		}
		function tick(x,  px) {
			px = at(x)
			line(px, top - 4, px, height - 22, "g")
			text(px, height - 8, show(x), " class=\"s\" text-anchor=\"" \
				(px < 20 ? "start" : "middle") "\"")
		}
		# One series of one group at y.
		function draw(k, y, j,  w, end) {
			if (instead[k] != "") {
				rect(0, y, 1, bar - 3, j)
				text(6, y + 11, instead[k], " class=\"s\"")
			}
			if (v[k] == "" || v[k] <= 0) return
			w = at(v[k])
			if (w < 1) w = 1
			end = w
			rect(0, y, w, bar - 3, j)
			if (to[k] > from[k]) {
				line(at(from[k]), y + 6, at(to[k]), y + 6, "w")
				if (at(to[k]) > end) end = at(to[k])
			}
			text(end + 5, y + 11, show(v[k]), "")
		}
		$3 != "" || $6 != "" {
			if (!($1 in g)) { g[$1] = ++ng; gn[ng] = $1 }
			if (!($2 in s)) { s[$2] = ++ns; sn[ns] = $2 }
			k = g[$1] SUBSEP s[$2]
			instead[k] = $6
		}
		$3 != "" {
			v[k] = $3; from[k] = $4; to[k] = $5
			for (i = 3; i <= 5; i++) {
				if ($i > max) max = $i
				if ($i > 0 && (min == "" || $i < min)) min = $i
			}
		}
		END {
			if (!ng) exit
			# Narrow enough for a telephone: names above the bars, values behind them.
			bar = 16; gap = 26; width = 330; all = 420
			x = 0; y = legend == "page" ? 32 : 50
			for (j = 1; j <= ns && legend != "page"; j++) {
				w = 30 + 7 * length(sn[j])
				if (x && x + w > all) { x = 0; y += 18 }
				lx[j] = x; ly[j] = y; x += w
			}
			top = y + 26
			height = top + ng * (ns * bar + gap) + 18
			lo = log_ ? log(min) - log(10) / 2 : 0
			hi = log_ ? log(max) : max
			if (hi <= lo) hi = lo + 1
			printf "<svg viewBox=\"0 0 %d %d\" width=\"%d\"", all, height, all
			printf " role=\"img\" aria-label=\"%s\">\n", title
			text(0, 15, title, " class=\"t\"")
			what = (unit == "us" ? "time" : unit) (log_ ? ", logarithmic" : "")
			what = what "; " better " is better; the thin line: lowest and highest run"
			text(0, 32, what, " class=\"s\"")
			for (j = 1; j <= ns && legend != "page"; j++) {
				rect(lx[j], ly[j] - 10, 11, 11, j)
				text(lx[j] + 16, ly[j], sn[j], "")
			}
			if (log_) {
				each = max / min > 1e5 ? 2 : 1
				end = log(max) / log(10)
				for (e = int(log(min) / log(10)); e <= end; e += each)
					if (10 ^ e >= min / 3) tick(10 ^ e)
			} else {
				for (x = 0; x <= max; x += step(max)) tick(x)
			}
			for (i = 1; i <= ng; i++) {
				y = top + (i - 1) * (ns * bar + gap) + 14
				text(0, y - 4, gn[i], "")
				for (j = 1; j <= ns; j++) draw(i SUBSEP j, y + (j - 1) * bar, j)
			}
			print "</svg>"
		}'
}

rp_lines() { # TITLE UNIT WHAT
	rp_escape | awk -F'\t' -v title="$1" -v unit="$2" -v what="$3" "$RP_AWK"'
		function px(x) { return left + x / xmax * (all - left - right) }
		function py(y) { return bottom - y / ymax * (bottom - top) }
		function text(x, y, what, more) {
			printf "<text x=\"%.1f\" y=\"%.1f\"%s>%s</text>\n", x, y, more, what
		}
		function line(x1, y1, x2, y2, class) {
			printf "<line x1=\"%.1f\" y1=\"%.1f\"", x1, y1
			printf " x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x2, y2, class
		}
		function number(x) { return x >= 10000 ? x / 1000 "k" : x "" }
		function small(x, y, what, anchor) {
			text(x, y, what, " class=\"s\" text-anchor=\"" anchor "\"")
		}
		# Above the line, but below it where a level is close above.
		function label(k,  j, i, y, off) {
			j = int(n[k] * 0.6) + 1
			y = py(ys[k, j]); off = -6
			for (i = 1; i <= levels; i++)
				if (py(ly[i]) <= y + 1 && py(ly[i]) > y - 24) off = 15
			text(px(xs[k, j]), y + off, name[k], " text-anchor=\"middle\"")
		}
		$1 == "at" {
			k = $2 SUBSEP $3
			if (!(k in n)) { order[++lines] = k; colour[k] = $2; dash[k] = $3 }
			n[k]++
			xs[k, n[k]] = $5; ys[k, n[k]] = $6
			if ($5 > xmax) xmax = $5
			if ($6 > ymax) ymax = $6
			if ($4 != "") name[k] = $4
		}
		$1 == "mark" { mx[++marks] = $2; mt[marks] = $3 }
		$1 == "level" { ly[++levels] = $2; lt[levels] = $3; if ($2 > ymax) ymax = $2 }
		END {
			if (!lines) exit
			if (xmax <= 0) xmax = 1
			if (ymax <= 0) ymax = 1
			ymax *= 1.08
			all = 420; left = 36; right = 6; top = 74; bottom = 214; height = 250
			printf "<svg viewBox=\"0 0 %d %d\" width=\"%d\"", all, height, all
			printf " role=\"img\" aria-label=\"%s\">\n", title
			text(0, 15, title, " class=\"t\"")
			text(0, 32, unit "; " what, " class=\"s\"")
			s = step(ymax)
			for (y = 0; y <= ymax; y += s) {
				line(left, py(y), all - right, py(y), "g")
				small(left - 5, py(y) + 4, number(y), "end")
			}
			s = step(xmax)
			for (x = 0; x <= xmax; x += s) {
				line(px(x), bottom, px(x), bottom + 4, "g")
				small(px(x), bottom + 16, x, "middle")
			}
			small(all - right, bottom + 31, "seconds", "end")
			# Their names take turns in two rows: they may be close to each other.
			for (i = 1; i <= marks; i++) {
				row = 50 + (i - 1) % 2 * 14
				line(px(mx[i]), row + 3, px(mx[i]), bottom, "m")
				if (px(mx[i]) > all - 60) small(px(mx[i]) + 2, row, mt[i], "end")
				else small(px(mx[i]) - 2, row, mt[i], "start")
			}
			for (i = 1; i <= levels; i++) {
				line(left, py(ly[i]), all - right, py(ly[i]), "m")
				small(all - right, py(ly[i]) - 4, lt[i], "end")
			}
			for (i = 1; i <= lines; i++) {
				k = order[i]
				printf "<polyline class=\"l%d%s\"", colour[k], dash[k] ? " d" : ""
				printf " points=\""
				for (j = 1; j <= n[k]; j++)
					printf "%.1f,%.1f ", px(xs[k, j]), py(ys[k, j])
				print "\"/>"
				if (k in name) label(k)
			}
			print "</svg>"
		}'
}

rp_head() { # TITLE
	cat <<HTML
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$1</title>
<style>
:root {
	color-scheme: light dark; --fg: #1c2430; --bg: #fff; --line: #d5dae2;
	--c1: #2b6cb0; --c2: #dd6b20; --c3: #38a169; --c4: #805ad5; --bad: #c53030; --good: #2f855a
}
@media (prefers-color-scheme: dark) {
	:root {
		--fg: #e4e8ef; --bg: #151a21; --line: #39424f; --c1: #63a4e8; --c2: #f29a52;
		--c3: #68c98f; --c4: #b49af0; --bad: #fc8181; --good: #7bd69c
	}
}
body {
	font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg);
	max-width: 62rem; margin: 2rem auto; padding: 0 1rem
}
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .25rem .8rem; border-bottom: 1px solid var(--line); text-align: right }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
.met { color: var(--good) } .miss { color: var(--bad); font-weight: 600 }
dt { font-weight: 600 } dd { margin: 0 0 .3rem 1rem; overflow-wrap: anywhere }
.scroll { overflow-x: auto }
svg { max-width: 100%; height: auto; display: block; margin: 1.5rem 0 }
svg text { font: 12px system-ui, sans-serif; fill: var(--fg) }
svg text.t { font-size: 14px; font-weight: 600 } svg text.s { font-size: 11px; opacity: .75 }
svg line.g { stroke: var(--line) } svg line.w { stroke: var(--fg); stroke-width: 1.5 }
svg line.m { stroke: var(--fg); stroke-width: 1; stroke-dasharray: 2 3; opacity: .6 }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round }
polyline.d { stroke-dasharray: 6 4 }
.l1 { stroke: var(--c1) } .l2 { stroke: var(--c2) } .l3 { stroke: var(--c3) }
.legend {
	position: sticky; top: 0; background: var(--bg); padding: .4rem 0; z-index: 1;
	border-bottom: 1px solid var(--line)
}
.legend span { white-space: nowrap; margin-right: 1.2rem }
.legend svg { display: inline; margin: 0 }
.plots { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 0 3rem }
@media (max-width: 480px) {
	body { margin: 1rem auto; padding: 0 .6rem }
	th, td { padding: .25rem; font-size: 12px }
	td:nth-child(2), td:nth-child(3) { white-space: nowrap }
}
.c1 { fill: var(--c1) } .c2 { fill: var(--c2) } .c3 { fill: var(--c3) } .c4 { fill: var(--c4) }
pre { overflow-x: auto; border: 1px solid var(--line); padding: .8rem; font-size: 13px }
</style></head><body>
<h1>$1</h1>
HTML
}

rp_foot() { printf '</body></html>\n'; }

rp_machine_html() {
	echo "<dl>"
	rp_escape <"$RP/machine.txt" | awk -F'\t' '{ printf "<dt>%s</dt><dd>%s</dd>\n", $1, $2 }'
	echo "</dl>"
}

rp_commands_html() {
	echo "<h2>Commands</h2><p>Server and client run the same command in one guest;"
	echo "the server's has no address.</p><pre>"
	rp_escape <"$RP/commands.txt"
	echo "</pre>"
}

# A table from standard input: cells are separated by tabs, the first line is the head.
rp_table() {
	rp_escape | awk -F'\t' '
		BEGIN { print "<div class=\"scroll\"><table>" }
		{
			t = NR == 1 ? "th" : "td"
			printf "<tr>"
			for (i = 1; i <= NF; i++) {
				c = ""
				if ($i == "met") c = " class=\"met\""
				if ($i == "NOT MET") c = " class=\"miss\""
				printf "<%s%s>%s</%s>", t, c, $i, t
			}
			print "</tr>"
		}
		END { print "</table></div>" }'
}

# The same lines as text, for a terminal and for a README.
rp_text() {
	awk -F'\t' '
		{
			for (i = 1; i <= NF; i++) {
				c[NR, i] = $i
				if (length($i) > w[i]) w[i] = length($i)
			}
			if (NF > n) n = NF
		}
		END {
			for (r = 1; r <= NR; r++) {
				line = "  "
				for (i = 1; i <= n; i++) {
					form = i == 1 ? "%-" w[i] "s" : "  %" w[i] "s"
					line = line sprintf(form, c[r, i])
				}
				sub(/ +$/, "", line)
				print line
				if (r == 1) { gsub(/./, "-", line); print "  " substr(line, 3) }
			}
		}'
}

rp_markdown() {
	awk -F'\t' '
		{ printf "|"; for (i = 1; i <= NF; i++) printf " %s |", $i; print "" }
		NR == 1 {
			printf "|"
			for (i = 1; i <= NF; i++) printf i == 1 ? "---|" : "---:|"
			print ""
		}'
}

# Describe the machine that the guest ran on, and what was measured.
rp_host() {
	local commit
	commit=$(git -C "$TOP" describe --always --dirty 2>/dev/null)
	[ -z "$commit" ] || printf 'commit\t%s\n' "$commit"
	printf 'host\t%s, %s processors\n' \
		"$(sed -n 's/^model name[ \t]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)"
}
