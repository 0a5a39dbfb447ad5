"""What operators do: accounts, keys, tariffs and corrections that follow what is there already."""

import things

LINE_BYTES_MAX = 256
UNIX_SECONDS = 4_000_000_000


def fit_account(case):
    """One that is new, on a tariff that there is."""
    body = dict(case.body)
    if "id" in body:
        body["id"] = f"new-{next(things.numbers)}"
    if "tariff" in body:
        body["tariff"] = "standard"
    limits = dict(body.get("limits", {}))
    if limits.get("requests_per_second") is None:
        limits.pop("burst", None)
    if "limits" in body:
        body["limits"] = limits
    case.body = with_lines(body)


def fit_lines(case):
    case.body = with_lines(case.body)


def with_lines(body):
    """The same with lines of so many bytes, which a schema counts in characters."""
    lines = {
        name: text.encode()[:LINE_BYTES_MAX].decode(errors="ignore")
        for name, text in body.items()
        if name in ("name", "label", "reason")
    }
    return body | lines


def fit_tariff(case):
    """The first version of a new one, with tiers in their order, from a time that is to come."""
    body = dict(case.body)
    body |= {"name": f"tariff-{next(things.numbers)}", "version": 1, "currency": "EUR"}
    body["in_force_from_unix_s"] = UNIX_SECONDS
    if "volume_tiers" in body:
        tiers = {tier["from_flops"]: tier for tier in body["volume_tiers"]}
        body["volume_tiers"] = [tiers[flops] for flops in sorted(tiers)]
    case.body = body


def fit_correction(case):
    """Of a job that was charged as much."""
    case.body = with_lines(case.body) | {"job": things.product(), "amount_micros": 1}
