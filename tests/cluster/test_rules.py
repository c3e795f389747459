"""Each rule, bound and pattern of the kinds, on a real API server: what it accepts, what it refuses, in which words."""

from __future__ import annotations

import pytest

from tests.cluster.api_server import ApiServer
from tests.unit.api.cases import CASES
from tests.unit.api.cases.case import Case


@pytest.mark.parametrize("case", [case for case in CASES if not case.message], ids=str)
def test_accepted(api: ApiServer, case: Case) -> None:
    api.dry_create(case.body).granted()


@pytest.mark.parametrize("case", [case for case in CASES if case.message], ids=str)
def test_refused(api: ApiServer, case: Case) -> None:
    answer = api.dry_create(case.body)
    assert answer.status == 422, answer.body
    about = [refusal for refusal in answer.refusals if refusal.startswith(f"{case.field}: ")]
    assert any(case.message in refusal for refusal in about), answer.refusals
