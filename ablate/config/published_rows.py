"""Which published row each candidate of a study repeats."""

from collections.abc import Iterable, Mapping

from ablate.catalog import published
from ablate.config.study import Study
from ablate.design import Candidate, encoder_spec
from ablate.errors import UserError


def published_rows(study: Study, candidates: Iterable[Candidate]) -> Mapping[str | int, str]:
    """The names of published rows: those the study's strategy names, by point or by round; where it
    names none, by point those of the same mixture.
    """
    if study.published is None or study.explore.published_rows:
        return study.explore.published_rows
    table = published.table(study.published)
    rows = {candidate.point: mixture_row(table, candidate.encoders) for candidate in candidates}
    return {point: row.name for point, row in rows.items() if row}


def mixture_row(table: published.Table, encoders: Iterable[str]) -> published.Row | None:
    """The row of the table that mixes the same experts; None where there is none, or where one of
    the encoders (titles) is none that is known here.
    """
    try:
        return table.mixture(encoder_spec(title).family for title in encoders)
    except UserError:
        return None
