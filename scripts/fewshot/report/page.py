"""The report's page: a Jinja2 template with its style, self-contained, for screen and print."""

STYLE = """
:root { --ink: #1f2328; --grey: #5f6670; --line: #d9dce1; --soft: #f5f6f8; --link: #0b5394; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 84rem; color: var(--ink);
  background: #fff; overflow-wrap: anywhere;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
h1, h3, p, ul, dl, nav, pre { max-width: 58rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .8rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .3rem; }
a { color: var(--link); }
.lead { font-size: 1.08rem; color: var(--grey); margin: 0 0 1.5rem; }
.answer { font-size: 1.08rem; font-weight: 600; margin: .4rem 0; }
.warning { background: #fff4e0; border-left: 4px solid #d98a00; padding: .7rem 1rem; }
nav { background: var(--soft); padding: .8rem 1.2rem; font-size: .92rem; }
nav ol { margin: 0; padding-left: 1.6rem; columns: 2 16rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; font-size: .92rem; }
dt { font-weight: 600; }
dd { margin: 0; }
figure { margin: 1.2rem 0 0; }
figure img { display: block; max-width: none; height: auto; }
figcaption, .caption, .note { color: var(--grey); font-size: .9rem; margin: .3rem 0 .6rem;
  max-width: 58rem; }
.files { font-size: .82rem; color: var(--grey); margin: .3rem 0; }
.scroll { overflow-x: auto; container-type: inline-size; }
table { border-collapse: separate; border-spacing: 0; font-size: .86rem;
  font-variant-numeric: tabular-nums; border-top: 2px solid var(--ink);
  border-bottom: 2px solid var(--ink); margin: .5rem 0; }
th, td { padding: .2rem .9rem .2rem 0; text-align: left; white-space: nowrap; }
thead th { border-bottom: 1px solid var(--ink); }
tbody th { font-weight: normal; }
.r { text-align: right; }
.still { position: sticky; background: #fff; z-index: 1; }
.edge { border-right: 1px solid var(--line); }
.edge + * { padding-left: .6rem; }
.section th { font-style: italic; padding-top: .7rem; }
.section:not(:first-child) th { border-top: 1px solid var(--line); }
.wrap { display: inline-block; position: sticky; left: 0; width: 100cqw; margin-right: -100cqw;
  white-space: normal; }
.named, .labelled .name { display: none; }
.labelled .named { display: table-row; }
.named th { padding: .5rem 0 0; }
pre { background: var(--soft); padding: .8rem 1rem; font-size: .8rem; overflow-x: auto; }
summary { cursor: pointer; color: var(--link); }
summary h2 { display: inline-block; margin: 0; padding: 0; border: 0; color: var(--ink); }
.folded { margin: 2.8rem 0 0; padding-top: .8rem; border-top: 1px solid var(--line); }
@media screen and (max-width: 60rem) {
  .foldable .name { display: none; }
  .foldable .named { display: table-row; }
}
@media screen and (max-width: 40rem) {
  body { padding: 1.5rem 1rem 3rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
}
@media print {
  body { font-size: 10pt; padding: 0; max-width: none; }
  nav, .files, summary:not(:has(h2)) { display: none; }
  figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
  figure img { max-width: 100%; }
  table { font-size: 8pt; }
  th, td { white-space: normal; }
  .still, .wrap { position: static; }
  details::details-content { content-visibility: visible; block-size: auto; }
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
{% macro kind(i) -%}
class="{{ item.sides[i] }}{{ " name" if i < item.names }}
{{- " still" if i < item.offsets|length }}{{ " edge" if i == item.offsets|length - 1 }}"
{%- if i < item.names %} style="min-width: {{ item.widths[i] }}em
{%- if i < item.offsets|length %}; left: {{ item.offsets[i] }}em{% endif %}"{% endif %}
{%- endmacro %}
<div class="scroll" role="region" tabindex="0" aria-label="{{ item.title }}">
<table class="{{ "labelled" if item.labelled }}{{ " foldable" if item.foldable }}">
<thead><tr>{% for name in item.columns %}<th scope="col" {{ kind(loop.index0) }}>{{ name }}</th>
{%- endfor %}</tr></thead>
<tbody>
{% for heading, rows in item.sections -%}
{% if heading %}<tr class="section"><th scope="rowgroup" colspan="{{ item.columns|length }}">
<span class="wrap">{{ heading }}</span></th></tr>
{% endif -%}
{% for name, row in rows %}
{%- if item.foldable %}<tr class="named"><th scope="rowgroup" colspan="{{ item.columns|length }}">
<span class="wrap">{{ name }}</span></th></tr>
{% endif %}<tr>{% for value in row %}{% set i = loop.index0 %}
{%- if i < item.names %}<th scope="row" {{ kind(i) }}>{{ value }}</th>
{%- else %}<td {{ kind(i) }}>{{ value }}</td>{% endif %}{% endfor %}</tr>
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
{% if item.image %}<figure><div class="scroll" role="region" tabindex="0"
 aria-label="{{ item.title }}"><img src="data:image/png;base64,{{ item.image }}"
 width="{{ item.width }}" height="{{ item.height }}" alt="{{ item.title }}"></div>
<figcaption>{{ item.caption }}</figcaption></figure>
{% else %}<p class="caption">{{ item.caption }}</p>
{% if item.count > 40 %}<details><summary>Show all {{ item.count }} rows</summary>
{{ table(item) }}</details>
{% elif item.count %}{{ table(item) }}{% endif %}
{% if item.note %}<p class="note">{{ item.note }}</p>{% endif %}{% endif %}
{{ files(item) }}
{%- endmacro %}
<h1>{{ title }}</h1>
{% if partial %}<p class="warning">This report is partial: {{ coverage_note }} What is missing is
marked
{%- if coverage %}, and listed with the last line of its log under
“<a href="#{{ coverage.id }}">{{ coverage.title }}</a>”{% endif %}.</p>{% endif %}
<div id="found">
{% if answer %}{% for sentence in answer.found %}<p class="answer">{{ sentence }}</p>
{% endfor %}{{ table(verdicts) }}
<p class="note">{{ verdicts.note }}</p>{% endif %}
</div>
{% if main %}{{ entry(main) }}{% endif %}
<p class="lead">{{ lead }}</p>
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
function on every evaluation row: in domain, on the task's own validation rows
{%- if out_of_domain %}, and out of domain, on rows made to break its shortcuts{% endif %}.</p>
<dl>
{% for name, value in asked %}<dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}</dl>

<h2 id="answer">What the numbers say</h2>
{% if answer %}
{% for sentence in answer.means %}<p class="answer">{{ sentence }}</p>
{% endfor %}<p>{{ answer.basis }}</p>
{{ table(methods) }}
<h3 id="limits">What cannot be concluded</h3>
<ul>{% for sentence in answer.limits %}<li>{{ sentence }}</li>{% endfor %}</ul>
{% else %}<p>No fine-tuned model stands beside the same model in context
{%- if partial %} yet{% endif %}.</p>{% endif %}
{% for part in further %}<h3 id="{{ part.id }}">{{ part.title }}</h3>
<ul>{% for sentence in part.sentences %}<li>{{ sentence }}</li>{% endfor %}</ul>{% endfor %}
<h3 id="headline">{{ headline.title }}</h3>
<p>{{ coverage_note }}</p>
{{ table(headline) if headline.count else "" }}
<p class="note">Accuracy in percent, mean over seeds [95 % interval]. {{ headline.note }}</p>
{{ files(headline) }}

{% for section in sections %}
{% if section.folded %}<details class="folded"><summary>{% endif %}
<h2 id="{{ section.id }}">{{ section.title }}</h2>
{% if section.folded %}</summary>{% endif %}
{% for item in section.entries %}{{ entry(item) }}
{% endfor %}{% if section.folded %}</details>{% endif %}{% endfor %}

<h2 id="reading">How to read intervals and tests</h2>
<h3>Tests</h3>
<ul>
{% for text in tests.values() %}<li>{{ text }}</li>
{% endfor %}<li>Two claims are kept apart. “These rows” asks what other examples would have
given on these very evaluation rows; “rows like these” also asks of other evaluation
rows, and is nearly always wider: both are estimates. Verdicts make the second claim, and each
interval says which it makes.</li>
<li>A verdict is better or worse where a difference is found, equivalent where it is shown to be
smaller than the margin that the study names (two one-sided tests), and undecided otherwise.</li>
<li>p-values are two-sided. Where many comparisons are made, some are small by chance. Verdicts
are corrected over the study by Benjamini and Hochberg, each family and score by itself: over many
studies at most 5 % of them are false on average, and where nothing differs the chance of any is
about 5 %. Holm's correction keeps the chance of any false finding in a family of comparisons
below 5 %. A family is the models of one method, pattern, number of shots, checkpoint and
evaluation set, or one matrix of sizes. The published matrices are shown as they were made,
without it.</li>
<li>A floor is the smallest p that a test can give. Where the floor times the number of
comparisons is above 5 %, that test cannot find anything, however large the difference.</li>
<li>P(better) is how often a run of the method beats that of the reference with the same draw, or
any of its runs where draws are not shared: 0.5 means neither does. It does not say by how much.
</li>
<li>“No variance”: where seeds and rows all differ alike, nothing tells how another draw would
differ, and there is no test.</li>
</ul>
<h3>Means and intervals</h3>
<ul>
<li>A run is one model adapted with one draw of k examples (a data seed). Means are over runs.</li>
<li>A 95 % interval “for rows like these” allows for other draws of examples and for other
evaluation rows of the same kind; one “for these rows” for other draws alone.</li>
<li>Accuracies have the first. Their standard error is that of runs and rows, which are crossed;
rows that belong together, such as those of a template or a premise, count as one cluster. Zero-shot
scores depend on no draw: theirs allow for other rows alone.</li>
<li>Other scores, accuracies over a sample of the rows and those of single epochs have the second:
Student's t over runs. Where all runs agree there is no interval: they do not tell how draws vary.
</li>
<li>“3/5” beside a mean says that it rests on three of five planned seeds; “does not fit” that the
examples exceed the model's window (nothing is ever truncated); “missing” that there is no result
yet.</li>
<li>The checkpoint of a fine-tuned model is the last epoch, which no evaluation row decides; or the
best in domain, which reads the labels of the evaluation rows, as in-context learning does not, and
is too high on these, where comparisons use the last epoch instead; or, in a study that asks for it,
held out: the best on one half of the in-domain rows, drawn once, while all methods are judged in
domain by the other half, so that it is not too high; it still reads more labels than the shots
have. {%- if out_of_domain %} Or it is the best out of domain, decided by the very rows that it is
then judged by: an oracle, shown as a bound and not as a method.{% endif %}</li>
<li>Learning curves of large evaluation sets are counted over a fixed sample of their rows, by which
the best epoch is found too; where the choice is held out, in domain over rows of the choice half.
The last epoch and the best one are scored on every row.</li>
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
<details><summary>Show all settings of the study</summary>
<pre>{{ settings }}</pre></details>
</body>
</html>
"""
