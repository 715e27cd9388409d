"""The report's page: a Jinja2 template with its style, self-contained, for screen and print."""

STYLE = """
:root { --ink: #1f2328; --grey: #5f6670; --line: #d9dce1; --soft: #f5f6f8; --link: #0b5394; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 58rem; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .8rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .3rem; }
a { color: var(--link); }
.lead { font-size: 1.08rem; color: var(--grey); margin: 0 0 1.5rem; }
.answer { font-size: 1.08rem; font-weight: 600; margin: .4rem 0; }
.warning { background: #fff4e0; border-left: 4px solid #d98a00; padding: .7rem 1rem; }
nav { background: var(--soft); padding: .8rem 1.2rem; font-size: .92rem; }
nav ol { margin: 0; padding-left: 1.2rem; columns: 2; }
figure { margin: 1.2rem 0 2rem; }
figure img { width: 100%; height: auto; max-width: 54rem; }
figcaption, .caption, .note { color: var(--grey); font-size: .9rem; margin: .3rem 0 .6rem; }
.files { font-size: .82rem; color: var(--grey); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums;
  border-top: 2px solid var(--ink); border-bottom: 2px solid var(--ink); margin: .5rem 0; }
th { text-align: left; border-bottom: 1px solid var(--ink); vertical-align: bottom; }
tbody th { border: 0; padding-right: 1.2rem; white-space: nowrap; vertical-align: top; }
th, td { padding: .2rem .9rem .2rem 0; }
td.r, th.r { text-align: right; white-space: nowrap; }
tr.section td { font-style: italic; padding-top: .7rem; }
tr.section:not(:first-child) td { border-top: 1px solid var(--line); }
code { font: .82em ui-monospace, "Liberation Mono", monospace; overflow-wrap: anywhere; }
pre { background: var(--soft); padding: .8rem 1rem; font-size: .8rem; overflow-x: auto; }
summary { cursor: pointer; color: var(--link); }
@media print {
  body { font-size: 10pt; padding: 0; max-width: none; }
  nav, .files { display: none; }
  figure, table { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
}
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
{% macro table(item) -%}
<div class="scroll"><table>
<thead><tr>{% for name in item.columns %}<th class="{{ item.sides[loop.index0] }}">{{ name }}</th>
{%- endfor %}</tr></thead>
<tbody>
{% for heading, rows in item.sections -%}
{% if heading %}<tr class="section"><td colspan="{{ item.columns|length }}">{{ heading }}</td></tr>
{% endif -%}
{% for row in rows %}<tr>{% for value in row %}<td class="{{ item.sides[loop.index0] }}">
{{- value }}</td>{% endfor %}</tr>
{% endfor %}{% endfor -%}
</tbody></table></div>
{%- endmacro %}
{% macro files(item) -%}
{% if item.links %}<p class="files">Files:
{%- for label, link in item.links %} <a href="{{ link }}">{{ label }}</a>{% endfor %}</p>{% endif %}
<p class="files">Made from {{ item.origin }}.</p>
{%- endmacro %}
{% macro entry(item) -%}
<h3 id="{{ item.id }}">{{ item.title }}</h3>
{% if item.image %}<figure><img src="data:image/png;base64,{{ item.image }}" alt="{{ item.title }}">
<figcaption>{{ item.caption }}</figcaption></figure>
{% else %}<p class="caption">{{ item.caption }}</p>
{% if item.count > 40 %}<details><summary>Show all {{ item.count }} rows</summary>
{{ table(item) }}</details>
{% elif item.count %}{{ table(item) }}{% endif %}
{% if item.note %}<p class="note">{{ item.note }}</p>{% endif %}{% endif %}
{{ files(item) }}
{%- endmacro %}
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
{% if partial %}<p class="warning">This report is partial: {{ coverage_note }} What is missing is
marked, and listed with the last line of its log under “Costs and coverage”.</p>{% endif %}
<nav><ol>
<li><a href="#question">What was asked</a></li>
<li><a href="#answer">What the numbers say</a></li>
{% for section in sections %}<li><a href="#{{ section.id }}">{{ section.title }}</a></li>
{% endfor %}<li><a href="#reading">How to read intervals and tests</a></li>
<li><a href="#provenance">Where every number comes from</a></li>
</ol></nav>

<h2 id="question">What was asked</h2>
<p>Is it better to fine-tune a language model on k examples or to show it the same k examples in its
context? {% if shared %}Every method here gets the same model, the same stored draws of examples and
the same prompt,{% else %}Every method here gets the same model, with draws of examples of its own
kind as they were published (so that draws are not paired),{% endif %} and is scored by the same
function on every evaluation row: in domain, on the task's own validation rows, and out of domain,
on rows made to break its shortcuts.</p>
<div class="scroll"><table><tbody>
{% for name, value in asked %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</tbody></table></div>

<h2 id="answer">What the numbers say</h2>
{% if answer %}
{% for sentence in answer.short %}<p class="answer">{{ sentence }}</p>
{% endfor %}<p>{{ answer.basis }}</p>
{{ table(methods) }}
<h3 id="limits">What cannot be concluded</h3>
<ul>{% for sentence in answer.limits %}<li>{{ sentence }}</li>{% endfor %}</ul>
{% else %}<p>There are no two methods with results to compare yet.</p>{% endif %}
{% if honest %}<h3 id="choice">What an honest choice of settings gives</h3>
<ul>{% for sentence in honest %}<li>{{ sentence }}</li>{% endfor %}</ul>{% endif %}
{% if main %}{{ entry(main) }}{% endif %}
<h3 id="headline">{{ headline.title or "Accuracy in and out of domain" }}</h3>
<p>{{ coverage_note }}</p>
{{ table(headline) if headline.count else "" }}
<p class="note">Accuracy in percent, mean over seeds [95 % interval]. {{ headline.note }}</p>
{{ files(headline) }}

{% for section in sections %}
<h2 id="{{ section.id }}">{{ section.title }}</h2>
{% for item in section.entries %}{{ entry(item) }}
{% endfor %}{% endfor %}

<h2 id="reading">How to read intervals and tests</h2>
<h3>Tests</h3>
<ul>
{% for text in tests.values() %}<li>{{ text }}</li>
{% endfor %}<li>p-values are two-sided. Where many comparisons are made, some are small by
chance: Holm's correction keeps the chance of any false finding in a family of comparisons below
5 %; Benjamini and Hochberg's, printed beside it, the expected share of findings that are false. A
family is the models of one method, pattern, number of shots, checkpoint and evaluation set,
or one matrix of sizes. The published matrices are shown as they were made, without it.</li>
<li>A floor is the smallest p that a test can give. Where the floor times the number of
comparisons is above 5 %, that test cannot find anything, however large the difference.</li>
<li>P(better) is how often a run of the method beats that of the reference with the same draw, or
any of its runs where draws are not shared: 0.5 means neither does. It does not say by how much.
</li>
<li>The detectable difference is what the crossed bootstrap would find four times out of five, after
Holm's correction at its strictest. A difference that is not significant may be as large as that.
</li>
</ul>
<h3>Means and intervals</h3>
<ul>
<li>A run is one model adapted with one draw of k examples (a data seed). Means are over runs.</li>
<li>Intervals are 95 % Student t intervals over runs, cut at 0 and 100 %. They tell how much another
draw of examples could change the mean; they do not cover another set of evaluation rows.</li>
<li>Zero-shot scores depend on no draw. Their intervals are Wilson's, over evaluation rows.</li>
<li>“3/5” beside a mean says that it rests on three of five planned seeds; “does not fit” that the
examples exceed the model's window (nothing is ever truncated); “missing” that there is no result
yet.</li>
<li>The checkpoint of a fine-tuned model is the last epoch, which no evaluation row decides; or the
best in domain, decided by the in-domain rows, and so too high on these, where comparisons use the
last epoch instead; or the best out of domain, decided by the very rows
that it is then judged by: an oracle, shown as a bound and not as a method.</li>
<li>Learning curves of large evaluation sets are counted over a fixed sample of their rows, by which
the best epoch is found too. The last epoch and the best in domain are scored on every row.</li>
<li>The majority baseline is the share of the most frequent gold label among the evaluation rows.
Dashed lines in figures show it.</li>
<li>Overall accuracy near the baseline can hide a bias towards one answer: look at the gold labels
apart where an evaluation set has them.</li>
</ul>

<h2 id="provenance">Where every number comes from</h2>
<p>Each run stores one prediction per evaluation row with its log-probabilities, and a manifest
(settings, checksums, package versions, seconds, memory). Metrics, tables and figures follow from
those files alone.</p>
{% for item in provenance %}<h3>{{ item.title }}</h3>
{% if item.count %}{{ table(item) }}{% else %}<p class="note">Nothing yet.</p>{% endif %}
{% endfor %}
<h3>Study</h3>
<pre>{{ settings }}</pre>
</body>
</html>
"""
