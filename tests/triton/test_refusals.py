"""What is refused, and that the client is told why."""

import numpy as np
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

import clients
from products import output, random_product


class Refusals:
    def refused(self, status, call, *args, **kwargs):
        """The message with which the client raises."""
        with self.assertRaises(InferenceServerException) as raised:
            call(*args, **kwargs)
        self.assertEqual(raised.exception.status(), str(status), raised.exception)
        self.assertTrue(raised.exception.message())
        return raised.exception.message()

    def test_unknown_models_and_versions(self):
        for call in [
            self.client.get_model_metadata,
            self.client.get_model_config,
            self.client.get_inference_statistics,
        ]:
            self.assertIn("matmul_fp16", self.refused(404, call, "matmul_fp16"))
            self.assertIn('"7"', self.refused(404, call, "matmul_fp64", "7"))

    def test_what_the_protocol_has_and_the_service_has_not(self):
        client = self.client
        for call, args in [
            (client.load_model, ["matmul_fp64"]),
            (client.unload_model, ["matmul_fp64"]),
            (client.get_trace_settings, []),
            (client.get_trace_settings, ["matmul_fp64"]),
            (client.update_trace_settings, ["matmul_fp64", {"trace_level": ["OFF"]}]),
            (client.get_log_settings, []),
            (client.update_log_settings, [{"log_info": True}]),
            (client.get_system_shared_memory_status, ["region"]),
            (client.register_system_shared_memory, ["region", "/key", 64]),
            (client.unregister_system_shared_memory, ["region"]),
            (client.unregister_system_shared_memory, []),
            (client.get_cuda_shared_memory_status, ["region"]),
            (client.register_cuda_shared_memory, ["region", b"handle", 0, 64]),
            (client.unregister_cuda_shared_memory, ["region"]),
            (client.unregister_cuda_shared_memory, []),
        ]:
            with self.subTest(call=call, args=args):
                self.assertIn("not-offered", self.refused(501, call, *args))

    def infer(self, inputs, **options):
        return self.client.infer("matmul_fp64", inputs, **options)

    def test_requests_that_are_wrong_and_where(self):
        good = random_product(np.float64, 2, 3, 4, with_c=True)
        narrow = random_product(np.float32, 2, 3, 4)
        other = random_product(np.float64, 5, 6, 7, with_c=True)
        a, b, c = good.inputs()
        shared = InferInput("A", [2, 4], "FP64").set_shared_memory("region", 64)
        stranger = InferInput("D", [2, 4], "FP64").set_data_from_numpy(good.a)
        vector = InferInput("A", [8], "FP64").set_data_from_numpy(good.a.flatten())
        for inputs, options, status, words in [
            (narrow.inputs(), {}, 422, ["/inputs/0/datatype", "FP64"]),
            (narrow.inputs(""), {}, 422, ["/inputs/0/datatype", "FP64"]),
            ([a], {}, 422, ["/inputs", "B"]),
            ([b, c], {}, 422, ["/inputs", "A"]),
            ([a, a, b], {}, 422, ["/inputs/1", "twice"]),
            ([a, b, stranger], {}, 422, ["/inputs/2/name", "D"]),
            ([vector, b], {}, 422, ["/inputs/0/shape"]),
            ([a, other.inputs()[1]], {}, 422, ["/inputs/1", "7"]),
            ([b, a, other.inputs()[2]], {}, 422, ["/inputs/2", "5 x 6"]),
            ([shared, b], {}, 501, ["/inputs/0/parameters/shared_memory_region"]),
            ([a, b], {"outputs": [InferRequestedOutput("D")]}, 422, ["/outputs/0/name"]),
            (
                [a, b],
                {"outputs": [InferRequestedOutput("C", class_count=3)]},
                501,
                ["/outputs/0/parameters/classification"],
            ),
            ([a, b], {"parameters": {"gamma": 1}}, 422, ["/parameters/gamma"]),
            ([a, b], {"parameters": {"alpha": "x"}}, 422, ["/parameters/alpha"]),
            ([a, b], {"parameters": {"transpose_a": 1}}, 422, ["/parameters/transpose_a"]),
            ([a, b], {"parameters": {"beta": 2}}, 422, ["/inputs", "C"]),
            ([a, b], {"model_version": "7"}, 404, ["7"]),
        ]:
            with self.subTest(inputs=[it.name() for it in inputs], options=options):
                message = self.refused(status, self.infer, inputs, **options)
                for word in words:
                    self.assertIn(word, message)
        # The connection and the client have survived all of it.
        good.check(self.infer([a, b, c]).as_numpy("C"))

    def test_a_result_that_json_has_no_word_for(self):
        one = random_product(np.float64, 1, 1, 1)
        one.a[0, 0] = one.b[0, 0] = 1e200
        message = self.refused(422, self.infer, one.inputs(), outputs=output(False))
        self.assertIn("result-not-finite", message)
        # Bytes have one.
        self.assertEqual(self.infer(one.inputs()).as_numpy("C")[0, 0], np.inf)


class SyncRefusals(Refusals, clients.SyncCase):
    pass


class AioRefusals(Refusals, clients.AioCase):
    pass
