"""The template of report.html, and what it calls the numbers.

In a module, so that it travels and is digested with the code.
"""

import base64
import hashlib

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem;
  margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid #ddd; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .9rem .2rem 0; text-align: right; vertical-align: top;
  border-bottom: 1px solid #eee; }
th { font-weight: 600; }
th:first-child, td:first-child, .left { text-align: left; }
td, figcaption { overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; }
.soft { color: #666; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem; }
figure { margin: 0; }
figure img { width: 100%; display: block; }
figcaption { font-size: .85rem; }
details { margin: .6rem 0; }
summary { cursor: pointer; }
"""
# A self-contained page: whatever text may come into it, a browser runs no script, applies no other style and
# asks nobody for anything.
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = "; ".join(
    [
        *("default-src 'none'", "img-src data:", f"style-src 'sha256-{_STYLE_HASH}'"),
        *("base-uri 'none'", "form-action 'none'"),
    ]
)
PHASE_NAMES = {"phase1": "Phase 1", "phase2": "Phase 2"}
METRIC_NAMES = (
    ("log_loss", "log loss"),
    ("accuracy", "accuracy"),
    ("macro_f1", "macro F1"),
    ("weighted_f1", "weighted F1"),
    ("top3_accuracy", "among the first three"),
    ("site_balanced_log_loss", "log loss, every site alike"),
    ("site_balanced_accuracy", "accuracy, every site alike"),
)
LABEL_METRIC_NAMES = (
    ("log_loss", "log loss, mean over labels"),
    ("micro_f1", "micro F1"),
    ("micro_precision", "micro precision"),
    ("micro_recall", "micro recall"),
    ("macro_f1", "macro F1"),
    ("macro_precision", "macro precision"),
    ("macro_recall", "macro recall"),
    ("map", "mean average precision"),
    ("accuracy", "accuracy, all labels of an image right"),
    ("site_balanced_log_loss", "log loss, every site alike"),
    ("site_balanced_accuracy", "accuracy, every site alike"),
)
BASELINE_NAMES = (
    ("uniform_log_loss", "log loss of the uniform guess"),
    ("prior_log_loss", "log loss of the class prior"),
    ("prior_accuracy", "accuracy of the commonest class"),
)
LABEL_BASELINE_NAMES = (
    ("uniform_log_loss", "log loss of a half for each label"),
    ("prior_log_loss", "log loss of the labels' frequencies"),
    ("prior_accuracy", "accuracy of the labels that most images have"),
)
SEQUENCE_METRIC_NAMES = METRIC_NAMES[:3]
LABEL_SEQUENCE_METRIC_NAMES = (
    LABEL_METRIC_NAMES[0],
    LABEL_METRIC_NAMES[1],
    ("macro_f1", "macro F1"),
    ("accuracy", "accuracy, all labels of a sequence right"),
)
TEMPLATE = """\
{%- macro number(value, digits=3) -%}
{%- if value is none -%}&#8211;{%- else -%}{{ "%.*f" | format(digits, value) }}{%- endif -%}
{%- endmacro -%}
{%- macro interval(section, metric) -%}
{%- set found = section.intervals[metric] -%}
{%- if found -%}<span class="soft">{{ number(found.low) }} to {{ number(found.high) }}</span>{%- endif -%}
{%- endmacro -%}
{%- macro picture(content, alt, kind="png") -%}
<img src="data:image/{{ kind }};base64,{{ content }}" alt="{{ alt }}">
{%- endmacro -%}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Trapline report</title>
<style>{{ style | safe }}</style>
</head>
<body>
<h1>Trapline report</h1>
<p class="soft">{{ "Drawn images" if evaluation.data.drawn else "Photographs" }}, divided by
{{ evaluation.data.split }}; data set {{ evaluation.data.fingerprint[:12] }}; champion
{{ phase_names[evaluation.champion.phase] }}{% if evaluation.champion.training_job %}
 from {{ evaluation.champion.training_job }}{% endif %}.</p>

<h2>What is claimed, and what is not</h2>
<ul>
{% for sentence in evaluation.claimed %}<li><strong>{{ sentence }}</strong></li>
{% endfor %}
{% for sentence in evaluation.not_claimed + notes %}<li>{{ sentence }}</li>
{% endfor %}
</ul>

{% if leakage %}
<h2>What a random split would flatter</h2>
<p>{{ leakage.widest.explanation }}</p>
<table>
<tr><th>a guess that knows only</th><th>accuracy, random split</th><th>accuracy, new cameras</th><th>gap</th>
<th>log loss, random split</th><th>log loss, new cameras</th><th>gap</th></tr>
{% for name, found in leakage.by_predictor.items() %}
<tr><td>{{ known.get(name, name) }}</td>
<td>{{ number(found.random.accuracy) }}</td><td>{{ number(found.site.accuracy) }}</td>
<td>{{ number(found.accuracy_gap) }}</td>
<td>{{ number(found.random.log_loss) }}</td><td>{{ number(found.site.log_loss) }}</td>
<td>{{ number(found.log_loss_gap) }}</td></tr>
{% endfor %}
{% for name, reason in leakage.left_out.items() %}
<tr class="soft"><td>{{ known.get(name, name) }}</td><td class="left" colspan="6">{{ reason }}</td></tr>
{% endfor %}
</table>
<p class="soft">Quick guesses, fitted and scored outside the test part. On a random split they know the
cameras that they are scored at; a gap above 0 is what such a split would add.</p>
{% endif %}

<h2>The champion's numbers</h2>
<table>
<tr><th></th>{% if test.available %}<th>test</th><th class="left">{{ confidence }} interval</th>{% endif %}
<th>validation</th><th class="left">{{ confidence }} interval</th></tr>
{% for metric, name in metric_names if validation[metric] is not none %}
<tr><td>{{ name }}</td>
{% if test.available %}<td>{{ number(test[metric]) }}</td>
<td class="left">{{ interval(test, metric) }}</td>{% endif %}
<td>{{ number(validation[metric]) }}</td><td class="left">{{ interval(validation, metric) }}</td></tr>
{% endfor %}
{% for metric, name in baseline_names %}
<tr class="soft"><td>{{ name }}</td>
{% if test.available %}<td>{{ number(test[metric]) }}</td><td></td>{% endif %}
<td>{{ number(validation[metric]) }}</td><td></td></tr>
{% endfor %}
{% for key, name in (("before", "calibration error, before temperature"),
("after", "calibration error, after temperature")) %}
<tr><td>{{ name }}</td>{% if test.available %}<td>{{ number(test.calibration[key]) }}</td><td></td>{% endif %}
<td>{{ number(validation.calibration[key]) }}</td><td></td></tr>
{% endfor %}
<tr class="soft"><td>images</td>{% if test.available %}<td>{{ test.images }}</td><td></td>{% endif %}
<td>{{ validation.images }}</td><td></td></tr>
{% if validation.sites is not none %}
<tr class="soft"><td>sites</td>{% if test.available %}<td>{{ test.sites }}</td><td></td>{% endif %}
<td>{{ validation.sites }}</td><td></td></tr>
{% endif %}
</table>
{% for section, name in ((test, "Test"), (validation, "Validation")) %}
{% if section.available and section.interval_reason %}
<p class="soft">{{ name }}: {{ section.interval_reason }}.</p>
{% endif %}
{% endfor %}
{% if not test.available %}<p>{{ test.reason }}.</p>{% endif %}

{% if pooling %}
<h2>By sequence</h2>
<p>{{ pooling }}</p>
{% if validation.by_sequence.available or test.by_sequence.available %}
{% set sequences_tested = test.by_sequence.available %}
<table>
<tr><th></th>{% if sequences_tested %}<th>test</th><th class="left">{{ confidence }} interval</th>{% endif %}
<th>validation</th><th class="left">{{ confidence }} interval</th></tr>
{% for metric, name in sequence_metric_names %}
<tr><td>{{ name }}</td>
{% if sequences_tested %}<td>{{ number(test.by_sequence[metric]) }}</td>
<td class="left">{{ interval(test.by_sequence, metric) }}</td>{% endif %}
<td>{{ number(validation.by_sequence[metric]) }}</td>
<td class="left">{{ interval(validation.by_sequence, metric) }}</td></tr>
{% endfor %}
{% for key, name in (("counted", "counted as one each"), ("sequences", "sequences of two images or more"),
("images_in_sequences", "images in them")) %}
<tr class="soft"><td>{{ name }}</td>
{% if sequences_tested %}<td>{{ test.by_sequence[key] }}</td><td></td>{% endif %}
<td>{{ validation.by_sequence[key] }}</td><td></td></tr>
{% endfor %}
</table>
<p class="soft">Each sequence counts as one, with the pooled prediction of its images; an image without a
sequence counts as one.</p>
{% endif %}
{% endif %}

<h2>The phases on validation</h2>
<p>{{ phase_names[evaluation.champion.phase] }} is the champion: {{ evaluation.champion.reason }}.</p>
<table>
<tr><th></th><th class="left">model</th><th class="left">training job</th><th class="left">views</th>
<th>temperature</th><th>log loss*</th></tr>
{% for name, phase in evaluation.phases.items() if phase %}
<tr><td>{{ phase_names[name] }}</td><td class="left">{{ phase.architecture }}, {{ phase.image_size }} px</td>
<td class="left">{{ phase.training_job or "not named" }}</td>
<td class="left">{{ phase.views | join(", ") }}</td>
<td>{{ number(phase.temperature) }}</td><td>{{ number(phase.cross_fitted_log_loss, 4) }}</td></tr>
{% endfor %}
</table>
<p class="soft">* at temperatures fitted on other sites than the image's own.</p>
{% if results %}
<table>
{% for name, text in results %}
<tr><td>{{ name }}</td><td class="left">{{ text }}</td></tr>
{% endfor %}
</table>
{% endif %}
{% for name, content in curves %}
{{ picture(content, "learning curves of " ~ name) }}
{% endfor %}

<h2>By {{ "label" if multilabel else "class" }}, {{ shown_part }}</h2>
<table>
<tr><th>{{ "label" if multilabel else "class" }}</th><th>precision</th><th>recall</th><th>F1</th>
{%- if multilabel %}<th>average precision</th><th>threshold</th>{% endif %}
<th>images</th><th>predicted</th></tr>
{% for row in shown.per_class %}
<tr><td>{{ row.class }}</td><td>{{ number(row.precision) }}</td><td>{{ number(row.recall) }}</td>
<td>{{ number(row.f1) }}</td>
{%- if multilabel %}<td>{{ number(row.average_precision) }}</td>
<td>{{ number(row.threshold) }}</td>{% endif %}
<td>{{ row.support }}</td><td>{{ row.predicted }}</td></tr>
{% endfor %}
</table>
{% if multilabel %}
<p class="soft">Labels an image: {{ number(shown.labels_per_image.true, 2) }}, predicted
{{ number(shown.labels_per_image.predicted, 2) }}. The thresholds have the best F1 on validation.</p>
{% endif %}
<p>
{% if figures.confusion is defined %}
{{ picture(figures.confusion, "confusion matrix, " ~ shown_part) }}
{% endif %}
{{ picture(figures.classes, "F1 by class, " ~ shown_part) }}
{% if figures.average_precisions is defined %}
{{ picture(figures.average_precisions, "average precision by label, " ~ shown_part) }}
{% endif %}
</p>
{% if numbered %}<p class="soft">{{ numbered }}. The numbers count the rows of the tables.</p>{% endif %}

<h2>Calibration, {{ shown_part }}</h2>
{{ picture(figures.reliability, "reliability, " ~ shown_part) }}
<p class="soft">{{ shown.calibration.bins }} bins of equal width; larger dots hold more
{%+ if multilabel %}labels: each label of each image counts, and accuracy is the share that is there.
{%- else %}images.{% endif %}</p>

{% if shown.per_site %}
<h2>By site, {{ shown_part }}</h2>
{{ picture(figures.sites, "log loss by site, " ~ shown_part) }}
<details><summary>All {{ shown.per_site | length }} sites</summary>
<table>
<tr><th>site</th><th>images</th><th>accuracy</th>{% if multilabel %}<th>micro F1</th>{% endif %}
<th>log loss</th></tr>
{% for row in shown.per_site %}
<tr><td>{{ row.site }}</td><td>{{ row.images }}</td><td>{{ number(row.accuracy) }}</td>
{%- if multilabel %}<td>{{ number(row.micro_f1) }}</td>{% endif %}
<td>{{ number(row.log_loss) }}</td></tr>
{% endfor %}
</table></details>
{% endif %}

{% if mistakes is not none %}
<h2>Most confident errors, test</h2>
{% if multilabel %}<p class="soft">In brackets: how sure the surest of the wrong decisions is.</p>{% endif %}
{% if mistakes %}
<div class="gallery">
{% for mistake in mistakes %}
<figure>{{ picture(mistake.picture, mistake.id, "jpeg") }}
<figcaption><strong>{{ mistake.predicted or "no label" }}</strong> ({{ number(mistake.confidence, 2) }}),
labelled <strong>{{ mistake.label or "none" }}</strong><br>
<span class="soft">{{ mistake.id }}{% if mistake.site %}, site {{ mistake.site }}{% endif %}</span>
</figcaption></figure>
{% endfor %}
</div>
{% else %}<p>No test image was classified wrongly.</p>{% endif %}
{% endif %}

<h2>Predictions</h2>
<p>{{ answers.inputs }} inputs, a row for each in predictions.csv: {{ answers.ok }} predicted,
{{ answers.failed }} failed; {{ answers.review }} need a person's look (failed, or confidence below
{{ "%g" | format(answers.review_below) }}).</p>
{% if pooled %}<p>{{ pooled[:1] | upper }}{{ pooled[1:] }}.</p>{% endif %}
{% if submission %}
<p>submission.csv: {{ submission.rows }} rows, checked against the submission format;
{{ submission.by_prior }} of them hold the class prior because the input failed
{%- if submission.left_out %}; {{ submission.left_out }}
inputs that the format does not ask for are left out{% endif %}.</p>
{% elif multilabel %}
<p>label_predictions.csv holds their labels alone; {{ answers.without_label }} have none. An input that
failed has an empty cell too.</p>
{% else %}<p>No submission format was given, so there is no submission.csv.</p>{% endif %}
{% if answers.labels %}
<table><tr><th>label</th><th>inputs</th></tr>
{% for label, count in answers.labels %}<tr><td>{{ label }}</td><td>{{ count }}</td></tr>
{% endfor %}</table>
{% endif %}
{% for heading, rows, total in problems if total %}
<details{% if total <= 20 %} open{% endif %}><summary>{{ heading }}: {{ total }}</summary>
<table><tr><th>id</th><th class="left">reason</th><th class="left">detail</th></tr>
{% for row in rows %}<tr><td>{{ row[0] }}</td><td class="left">{{ row[1] }}</td>
<td class="left soft">{{ row[2] }}</td></tr>
{% endfor %}</table>
{% if total > rows | length %}<p class="soft">and {{ total - rows | length }} more.</p>{% endif %}
</details>
{% endfor %}
</body>
</html>
"""
