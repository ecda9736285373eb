"""Good enough? What a policy asks, what appraisal makes of a proof, and what a change of either would do.

`policy` has the policy itself, `appraise` the judgement, `floor` the minimum versions of a family, `reference` what may
run, `enrolment` whose machines are ours; `tighten`, `amendment` and `simulate` say what a change amounts to.
"""
