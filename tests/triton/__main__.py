"""The inference protocol as its own client sees it: the published tritonclient, unchanged.

    python3 tests/triton ADDRESS [--small]

runs every call that the client offers against a service at ADDRESS, host:port, by its synchronous
and its asyncio form. With --small, products stay small enough for an emulated machine.
"""

import sys
import unittest

import clients

SUITES = ["test_describe", "test_infer", "test_refusals"]


def main():
    arguments = sys.argv[1:]
    clients.SMALL = "--small" in arguments
    addresses = [argument for argument in arguments if argument != "--small"]
    if len(addresses) != 1:
        sys.exit(__doc__)
    clients.ADDRESS = addresses[0]
    suite = unittest.defaultTestLoader.loadTestsFromNames(SUITES)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    print(f"{result.testsRun} tests run")
    sys.exit(0 if result.wasSuccessful() and result.testsRun > 0 else 1)


main()
