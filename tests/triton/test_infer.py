"""Products by every way of asking for one."""

import asyncio
import functools
import http.client
import itertools
import json

import numpy as np
import tritonclient.http

import clients
from products import Product, output, random_product

DTYPES = [np.float64, np.float32]
CODINGS = [None, "gzip", "deflate"]

SHAPES = [(1, 1, 1), (2, 3, 4), (5, 1, 7), (1, 8, 64), (17, 33, 65)]
LARGE_SHAPES = [(8, 4, 4096), (4, 4096, 8), (4096, 1, 3), (257, 300, 200)]


@functools.cache
def widest_product():
    return random_product(np.float32, 4096, 4096, 4096)


class Infer:
    def infer(self, product, **options):
        """The reply, once its product is checked."""
        binary = options.pop("binary", "ABC")
        inputs = product.inputs(binary)
        options.setdefault("parameters", product.parameters)
        result = self.client.infer(product.model, inputs, **options)
        product.check(result.as_numpy("C"))
        return result

    def test_every_size_by_every_mixture_of_bytes_and_json(self):
        cases = list(itertools.product(DTYPES, SHAPES, [False, True]))
        if not clients.SMALL:
            cases += itertools.product(DTYPES, LARGE_SHAPES, [True])
        for dtype, shape, with_c in cases:
            product = random_product(dtype, *shape, with_c=with_c)
            for binary, is_binary_out in itertools.product(["ABC", ""], [True, False]):
                with self.subTest(dtype=dtype, shape=shape, binary=binary, out=is_binary_out):
                    self.infer(product, binary=binary, outputs=output(is_binary_out))
            for binary in ["A", "B", "C", "AC", "BC"]:
                with self.subTest(dtype=dtype, shape=shape, binary=binary):
                    self.infer(product, binary=binary)

    def test_whole_numbers_are_multiplied_exactly(self):
        random = np.random.default_rng(3)
        for dtype, binary in itertools.product(DTYPES, ["AB", ""]):
            a, b = (random.integers(-9, 10, (30, 30)).astype(dtype) for _ in range(2))
            result = self.infer(Product(a, b), binary=binary)
            np.testing.assert_array_equal(result.as_numpy("C"), a @ b)

    def test_parameters(self):
        for dtype, with_c, binary in itertools.product(DTYPES, [False, True], ["ABC", ""]):
            for transpose_a, transpose_b in itertools.product([False, True], repeat=2):
                parameters = {"transpose_a": transpose_a, "transpose_b": transpose_b}
                parameters["alpha"] = -1.7
                if with_c:
                    parameters["beta"] = 0.3
                product = random_product(dtype, 6, 9, 4, with_c=with_c, **parameters)
                self.infer(product, binary=binary)
        ignored = random_product(np.float64, 2, 2, 2, with_c=True, beta=0)
        self.infer(ignored)

    def test_matrices_without_elements(self):
        for dtype, binary, out in itertools.product(DTYPES, ["ABC", ""], [True, False]):
            for m, n, k in [(0, 2, 3), (2, 0, 3), (2, 3, 0), (0, 0, 0)]:
                with self.subTest(m=m, n=n, k=k, binary=binary, out=out):
                    product = random_product(dtype, m, n, k)
                    self.infer(product, binary=binary, outputs=output(out))

    def test_compressed_both_ways(self):
        size = 24 if clients.SMALL else 70
        for dtype, binary, out in itertools.product(DTYPES, ["ABC", "B", ""], [True, False]):
            product = random_product(dtype, size, size + 1, size + 2, with_c=True)
            for sent, wanted in itertools.product(CODINGS, CODINGS):
                with self.subTest(binary=binary, out=out, sent=sent, wanted=wanted):
                    self.infer(
                        product,
                        binary=binary,
                        outputs=output(out),
                        request_compression_algorithm=sent,
                        response_compression_algorithm=wanted,
                    )

    def test_outputs_are_bytes_or_json_as_asked_for(self):
        product = random_product(np.float64, 3, 2, 4)
        size = 3 * 2 * 8
        for outputs, is_binary in [(None, True), (output(True), True), (output(False), False)]:
            [tensor] = self.infer(product, outputs=outputs).get_response()["outputs"]
            self.assertEqual(tensor["name"], "C")
            self.assertEqual(tensor["datatype"], "FP64")
            self.assertEqual(tensor["shape"], [3, 2])
            if is_binary:
                self.assertEqual(tensor["parameters"], {"binary_data_size": size})
            self.assertEqual("data" in tensor, not is_binary)

    def test_the_reply_names_the_request_the_model_and_the_bill(self):
        product = random_product(np.float32, 3, 2, 4)
        for out, version in itertools.product([True, False], ["", "1"]):
            result = self.infer(
                product, outputs=output(out), model_version=version, request_id='a "b" \u00fc'
            )
            response = result.get_response()
            self.assertEqual(response["id"], 'a "b" \u00fc')
            self.assertEqual(response["model_name"], "matmul_fp32")
            self.assertEqual(response["model_version"], "1")
            parameters = response["parameters"]
            self.assertRegex(parameters["gemmule_job"], "^[0-9a-f]{32}$")
            self.assertEqual(parameters["gemmule_flops"], 2 * 3 * 2 * 4)
            self.assertEqual(parameters["gemmule_amount_micros"], 1)
            self.assertEqual(parameters["gemmule_currency"], "EUR")
        self.assertNotIn("id", self.infer(product).get_response())

    def test_what_asks_for_scheduling_is_taken(self):
        self.infer(
            random_product(np.float64, 2, 2, 2),
            sequence_id=5,
            sequence_start=True,
            sequence_end=True,
            priority=2,
            timeout=1_000_000,
            headers={"X-Test": "1"},
            query_params={"test": 1},
        )

    def test_statistics_count_what_was_done(self):
        product = random_product(np.float32, 2, 2, 2)

        def statistics():
            [model] = self.client.get_inference_statistics("matmul_fp32", "1")["model_stats"]
            self.assertEqual((model["name"], model["version"]), ("matmul_fp32", "1"))
            self.assertEqual(model["inference_count"], model["execution_count"])
            return model["inference_count"], model["inference_stats"]

        count_before, before = statistics()
        self.infer(product)
        with self.assertRaises(tritonclient.http.InferenceServerException):
            self.client.infer("matmul_fp32", product.inputs()[:1])
        count, after = statistics()
        self.assertEqual(count, count_before + 1)
        for outcome in ["success", "fail"]:
            self.assertEqual(after[outcome]["count"], before[outcome]["count"] + 1)
        self.assertGreater(after["success"]["ns"], before["success"]["ns"])
        models = self.client.get_inference_statistics()["model_stats"]
        self.assertEqual({model["name"] for model in models}, {"matmul_fp64", "matmul_fp32"})

    def test_bodies_made_and_read_without_a_connection(self):
        product = random_product(np.float64, 4, 5, 6)
        for binary, out in itertools.product(["AB", ""], [True, False]):
            body, header_length = self.client.generate_request_body(
                product.inputs(binary), outputs=output(out), request_id="7"
            )
            headers = {}
            if header_length is not None:
                headers["Inference-Header-Content-Length"] = str(header_length)
            connection = http.client.HTTPConnection(
                clients.ADDRESS, timeout=clients.TIMEOUT_SECONDS
            )
            connection.request("POST", "/v2/models/matmul_fp64/infer", body, headers)
            response = connection.getresponse()
            content = response.read()
            connection.close()
            self.assertEqual(response.status, 200, content)
            header_length = response.headers["Inference-Header-Content-Length"]
            self.assertEqual(header_length is not None, out)
            media_type = "application/octet-stream" if out else "application/json"
            self.assertEqual(response.headers["Content-Type"], media_type)
            result = self.client.parse_response_body(
                content, header_length=header_length and int(header_length)
            )
            product.check(result.as_numpy("C"))
            self.assertEqual(result.get_response()["id"], "7")

    def test_the_bill_of_a_product_can_be_read_again(self):
        result = self.infer(random_product(np.float64, 3, 4, 5, with_c=True))
        parameters = result.get_response()["parameters"]
        connection = http.client.HTTPConnection(clients.ADDRESS, timeout=clients.TIMEOUT_SECONDS)
        connection.request("GET", f"/v1/jobs/{parameters['gemmule_job']}/bill")
        bill = json.load(connection.getresponse())
        connection.close()
        self.assertEqual(bill["flops"], parameters["gemmule_flops"])
        self.assertEqual(bill["flops"], 2 * 3 * 4 * 5 + 2 * 3 * 4)
        self.assertEqual(bill["bytes_out"], 3 * 4 * 8)

    def test_the_widest(self):
        if clients.SMALL:
            self.skipTest("an emulated machine would take minutes")
        self.infer(widest_product())


class SyncInfer(Infer, clients.SyncCase):
    def test_many_at_once(self):
        products = [random_product(np.float64, 20, 30, 40, seed=seed) for seed in range(40)]
        requests = [self.client.async_infer(it.model, it.inputs()) for it in products]
        for product, request in zip(products, requests):
            product.check(request.get_result().as_numpy("C"))


class AioInfer(Infer, clients.AioCase):
    def test_many_at_once(self):
        products = [random_product(np.float64, 20, 30, 40, seed=seed) for seed in range(40)]

        async def infer_all(client):
            requests = [client.infer(it.model, it.inputs()) for it in products]
            return await asyncio.gather(*requests)

        for product, result in zip(products, self.client.run(infer_all)):
            product.check(result.as_numpy("C"))
