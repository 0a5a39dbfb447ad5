"""What the service says of itself and of its models."""

import clients

MODELS = {"matmul_fp64": "FP64", "matmul_fp32": "FP32"}


class Describe:
    def test_it_lives_and_is_ready(self):
        self.assertIs(self.client.is_server_live(), True)
        self.assertIs(self.client.is_server_ready(), True)

    def test_both_models_are_ready_in_their_only_version(self):
        for model in MODELS:
            self.assertIs(self.client.is_model_ready(model), True)
            self.assertIs(self.client.is_model_ready(model, "1"), True)
            self.assertIs(self.client.is_model_ready(model, "2"), False)
        self.assertIs(self.client.is_model_ready("matmul_fp16"), False)

    def test_the_server_names_itself_and_its_extensions(self):
        metadata = self.client.get_server_metadata()
        self.assertEqual(metadata["name"], "gemmule")
        self.assertRegex(metadata["version"], r"^\d+\.\d+\.\d+$")
        self.assertIn("binary_tensor_data", metadata["extensions"])

    def test_headers_and_queries_pass_through(self):
        self.assertTrue(self.client.is_server_live(headers={"X-Test": "1"}))
        self.assertTrue(self.client.is_server_live(query_params={"test": ["1", "2"], "b": "c d"}))

    def test_metadata_names_the_tensors(self):
        for model, datatype in MODELS.items():
            for version in ["", "1"]:
                metadata = self.client.get_model_metadata(model, version)
                self.assertEqual(metadata["name"], model)
                self.assertEqual(metadata["versions"], ["1"])
                self.assertEqual(metadata["platform"], "gemmule")
                tensor = {"datatype": datatype, "shape": [-1, -1]}
                names = ["A", "B", "C"]
                self.assertEqual(metadata["inputs"], [{"name": name, **tensor} for name in names])
                self.assertEqual(metadata["outputs"], [{"name": "C", **tensor}])

    def test_the_configuration_says_that_c_is_optional_and_nothing_is_batched(self):
        for model, datatype in MODELS.items():
            for version in ["", "1"]:
                config = self.client.get_model_config(model, version)
                self.assertEqual(config["name"], model)
                self.assertEqual(config["max_batch_size"], 0)
                optional = {tensor["name"]: tensor["optional"] for tensor in config["input"]}
                self.assertEqual(optional, {"A": False, "B": False, "C": True})
                self.assertEqual([tensor["name"] for tensor in config["output"]], ["C"])
                for tensor in config["input"] + config["output"]:
                    self.assertEqual(tensor["data_type"], "TYPE_" + datatype)
                    self.assertEqual(tensor["dims"], [-1, -1])

    def test_the_index_lists_both_models_as_ready(self):
        rows = self.client.get_model_repository_index()
        found = {(row["name"], row["version"], row["state"]) for row in rows}
        self.assertEqual(found, {(model, "1", "READY") for model in MODELS})

    def test_no_memory_is_shared(self):
        self.assertEqual(self.client.get_system_shared_memory_status(), [])
        self.assertEqual(self.client.get_cuda_shared_memory_status(), [])


class SyncDescribe(Describe, clients.SyncCase):
    pass


class AioDescribe(Describe, clients.AioCase):
    pass
