"""What is refused, and that the client is told why."""

from tritonclient.utils import InferenceServerException

import clients


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


class SyncRefusals(Refusals, clients.SyncCase):
    pass


class AioRefusals(Refusals, clients.AioCase):
    pass
