# Gemmule. `make` alone lists what can be made.

CARGO ?= cargo
# Where `make run` serves, and on which of QEMU's machines: q35 or microvm.
PORT ?= 8080
MACHINE ?= microvm
# A file that is the machine's disk, on which bills last; made if it is not there. None unless given.
DISK ?=

.PHONY: help run demo test test-avx512 test-slow test-upload test-openapi image host sim lint no-std bench-vm bench-gemm bench-http bench-json bench-ledger bench-volume bench-large bench-fairness bench-strassen crash clean

help:
	@echo 'make run       build the image, boot it in QEMU, post a job, and serve on port $(PORT)'
	@echo 'make demo      the same, then power off'
	@echo 'make test      all tests, those of the booted image included'
	@echo 'make test-avx512  the image and the multiply on emulated processors with AVX-512, in Bochs'
	@echo 'make test-slow  the Linux server beside hundreds of clients that are slow on purpose'
	@echo 'make test-upload  an upload over a link that breaks; BYTES=N BREAKS=N CHUNK=N'
	@echo 'make test-openapi  the Linux server against its own description; SEED=N EXAMPLES=N'
	@echo 'make image     the image of the virtual machine: target/image/gemmule'
	@echo 'make host      the Linux binary: target/release/gemmule'
	@echo 'make sim       many simulated days of good and bad clients; SEED=N RUNS=N'
	@echo 'make crash     power cuts at every write of a ledger, and a machine that is killed; SEED=N'
	@echo 'make lint      format and lints'
	@echo 'make bench-vm  the image against a Linux virtual machine with the same service'
	@echo 'make bench-gemm   the multiply against every library one could link instead'
	@echo 'make bench-http   the Linux server against FastAPI with NumPy, and axum; ARGUMENTS=--all-cores'
	@echo 'make bench-json   numbers read from JSON and printed to it, against serde_json'
	@echo 'make bench-fairness  what a burst from one account costs another'
	@echo 'make bench-ledger  jobs that wait for their charges to last, a large ledger, bad keys'
	@echo 'make bench-volume  commits to a ledger, and how soon a large one opens after a crash'
	@echo 'make bench-strassen  products in fewer operations against classical ones'
	@echo 'make bench-large  a product of matrices on a disk, in less memory than they take'
	@echo 'make clean     remove everything that was built'
	@echo 'PORT=N and MACHINE=microvm|q35 change what `make run` and `make demo` boot;'
	@echo 'DISK=FILE gives `make run` a disk.'

run: image
	tools/install run
	$(CARGO) run --quiet --release --example boot -- --machine $(MACHINE) --port $(PORT) \
	    $(if $(DISK),--disk $(DISK))

demo: image
	tools/install run
	$(CARGO) run --quiet --release --example boot -- --machine $(MACHINE) --port $(PORT) --once

test: image no-std
	tools/install test
	$(CARGO) test
	tools/compare-h11

# Apart from the others: Bochs is slow, and QEMU has no AVX-512.
test-avx512: image
	tools/install avx512
	tools/test-avx512
	tools/test-avx512-multiply

# Apart from the others: slow clients take a minute.
test-slow:
	tools/install slow
	$(CARGO) test --test slow -- --ignored --nocapture

# Apart from the others: it takes as much disk as it uploads. A small one is among the tests.
test-upload: BYTES ?= 10737418240
test-upload: BREAKS ?= 104857600
test-upload: CHUNK ?= 16777216
test-upload:
	BYTES=$(BYTES) BREAKS=$(BREAKS) CHUNK=$(CHUNK) \
	    $(CARGO) test --release --test matrices of_many -- --ignored --nocapture

# A bounded part of this, always the same, is among the tests.
test-openapi: SEED ?= $(shell od -An -N3 -tu4 /dev/urandom | tr -d ' ')
test-openapi: EXAMPLES ?= 60
test-openapi:
	tools/install openapi
	SEED=$(SEED) EXAMPLES=$(EXAMPLES) timeout 300 $(CARGO) test --test schemathesis -- --nocapture

image:
	tools/install image
	hermit-config/build

host:
	tools/install host
	$(CARGO) build --release

# The core must stay free of std, whatever the host needs.
no-std:
	tools/install image
	tools/check-no-std

# A bounded part of this is among the tests.
sim: RUNS ?= 20000
sim:
	tools/install host
	SEED=$(SEED) RUNS=$(RUNS) $(CARGO) test --release --test sim

# A bounded part of this is among the tests.
crash: KILLS ?= 20
crash: image
	tools/install test
	SEED=$(or $(SEED),1) CUTS=all $(CARGO) test --test crash --test crash_jobs -- --nocapture
	KILLS=$(KILLS) $(CARGO) test --test image_ledger -- --nocapture killed

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

bench-vm: image
	tools/install bench
	$(CARGO) bench --bench vm -- $(ARGUMENTS)

bench-gemm:
	tools/install gemm
	tools/gemm-peers
	$(CARGO) run --release --manifest-path benches/gemm/Cargo.toml -- $(ARGUMENTS)

bench-json:
	tools/install host
	$(CARGO) bench --bench json

bench-ledger:
	tools/install host
	@# Both, whatever becomes of the first.
	status=0; $(CARGO) bench --bench ledger -- $(ARGUMENTS) || status=1; \
	$(CARGO) bench --bench fairness || status=1; exit $$status

bench-volume:
	tools/install host
	$(CARGO) bench --bench volume -- $(ARGUMENTS)

bench-large: SIZE ?= 20000
bench-large: MEMORY ?= 2048
bench-large:
	tools/install host
	$(CARGO) bench --bench large -- $(SIZE) $(MEMORY) $(ARGUMENTS)

bench-fairness:
	tools/install host
	$(CARGO) bench --bench fairness

bench-strassen:
	tools/install host
	$(CARGO) bench --bench strassen -- $(ARGUMENTS)

bench-http: host
	tools/install http
	tools/http-peers
	$(CARGO) build --release --manifest-path benches/http/Cargo.toml
	@# Both, whatever becomes of the first.
	status=0; $(CARGO) bench --bench json || status=1; \
	$(CARGO) run --release --manifest-path benches/http/Cargo.toml -- $(ARGUMENTS) || status=1; exit $$status

clean:
	$(CARGO) clean
