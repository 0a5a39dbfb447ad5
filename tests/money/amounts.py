"""What jobs cost, by the rule that docs/api.md states, in Python's integers, which have no bound.

Reads lines of whole numbers:

    T f64 f32 gb_in gb_out minimum gb_hour cached free [from_flops per_mille]...
                                                       a tariff: for the lines behind it
    U bits cached flops bytes_in bytes_out flops_before
                                                       a job in f64 or f32, answered from the cache or not
    S byte_hours...                                    what was stored, record by record

and prints for each job its amount in micro-units, and the amounts of what was stored together.
"""

import sys

AMOUNT_MAX = 2**53 - 1


def cost_of_first(flops, free, rates):
    """What the first operations of a month cost, in thousandths of the price of one."""
    cost = 0
    # From the last rate down: each costs what it takes off.
    for start, per_mille in reversed(rates):
        if flops > start:
            charged = flops - max(start, min(free, flops))
            if charged > 0:
                cost += charged * per_mille
            flops = start
    return cost


def main():
    out = []
    for line in sys.stdin:
        kind, *fields = line.split()
        numbers = [int(field) for field in fields]
        if kind == "T":
            f64, f32, gb_in, gb_out, minimum, gb_hour, cached, free, *pairs = numbers
            rates = [(0, 1000), *zip(pairs[::2], pairs[1::2])]
            continue
        if kind == "S":
            # However many records it was cut into.
            out.append(sum(numbers) * gb_hour // 10**9)
            continue
        bits, is_cached, flops, bytes_in, bytes_out, before = numbers
        work = cost_of_first(before + flops, free, rates) - cost_of_first(before, free, rates)
        # Over 10^18: prices are for 10^12 operations in thousandths of thousandths, and for 10^9 bytes.
        total = work * (f64 if bits == 64 else f32) * (cached if is_cached else 1000)
        total += (bytes_in * gb_in + bytes_out * gb_out) * 10**9
        out.append(min(max(-(-total // 10**18), minimum), AMOUNT_MAX))
    print("\n".join(map(str, out)))


main()
