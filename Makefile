# Vigie's tasks. Needed are Go, git and make; the rest is fetched at pinned versions.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c

VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X vigie/internal/buildinfo.version=$(VERSION)

# How long each fuzz target runs.
FUZZTIME ?= 5s
# How many clips are made to measure how many are found; docs/accuracy.md has the figures of 100.
CLIPS ?= 12
# How many flags the demonstration of a cluster times.
FLAGS ?= 1000
# For how long faults strike a cluster.
CHAOS ?= 30m
# Which benchmarks run.
BENCH ?= .

TOOL := go tool -modfile=$(CURDIR)/tools/go.mod

# The product is static: cgo is used by the race detector alone.
export CGO_ENABLED := 0
# go.mod is changed by its editors, never by a build. nodynamic keeps the AVIF decoder from loading
# libraries of the system: it runs as WebAssembly.
export GOFLAGS := $(strip $(GOFLAGS) -mod=readonly -tags=nodynamic)

# $(call need,PROGRAM,PACKAGES,WHAT FOR) installs Debian packages if the program is missing.
need = @command -v $(1) >/dev/null || { \
	echo "installing $(2) for $(3)"; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update -q && $$sudo apt-get install -y -q --no-install-recommends $(2); }

.DEFAULT_GOAL := help
.PHONY: help build setup demo cluster-demo chaos check test norace modules format vet lint unit race gcc postgres s3server duckdb static arm64 qemu fuzz cover bench gen verify clean

help: ## list the targets
	@awk -F ':.*## ' '/^[-a-z0-9]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/vigie, one static binary
	go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/vigie ./cmd/vigie

# What decodes videos and HEIC pictures. Vigie runs without them, and says what it lacks.
setup: ## install the programs that decode videos (ffmpeg) and HEIC pictures (heif-convert), if they are missing
	@missing=; \
	command -v ffmpeg >/dev/null || missing="ffmpeg"; \
	command -v heif-convert >/dev/null || missing="$$missing libheif-examples"; \
	[ -z "$$missing" ] || { \
		echo "installing$${missing:+ }$$missing"; \
		sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		$$sudo apt-get update -q && $$sudo apt-get install -y -q --no-install-recommends $$missing \
			|| echo "not installed: $$missing; what needs them is left out"; }

demo: build setup ## show the main job on harmless pictures: flag, check, retract, scan
	bin/vigie demo

cluster-demo: postgres s3server ## show three nodes on PostgreSQL and S3: what is flagged on one is matched on the others, and how soon
	CI=true VIGIE_CLUSTER_FLAGS=$(FLAGS) go test -count 1 -v -timeout 30m -run '^TestClusterDemo$$' ./cmd/vigie

chaos: postgres s3server ## let happen to three nodes what happens to clusters, for CHAOS (30m), and judge all they said; table in bin/chaos.md
	@mkdir -p bin
	CI=true VIGIE_CHAOS=$(CHAOS) VIGIE_CHAOS_REPORT=$(CURDIR)/bin/chaos.md go test -count 1 -v -timeout 3h -run '^TestChaos$$' ./cmd/vigie

check: format vet lint unit ## the fast loop: format, vet, staticcheck, short tests

test: setup modules verify format vet lint static arm64 fuzz norace race ## everything: what a change must pass

modules: ## verify the modules' sums, and that go.mod is tidy
	go mod verify
	go mod tidy -diff

format: ## list files that gofumpt would change
	@files=$$($(TOOL) gofumpt -l .); if [ -n "$$files" ]; then echo "not formatted; run: go tool -modfile=tools/go.mod gofumpt -w ."; echo "$$files"; exit 1; fi

vet: ## run go vet
	go vet ./...

lint: ## run staticcheck
	$(TOOL) staticcheck ./...

unit: ## run the tests without the long ones
	go test -short ./...

norace: postgres s3server ## run what the race detector is too slow for: accuracy over the data set, videos, costs, hostile input, a cluster under faults
	go test -count 1 -v -run 'Reference|Estimate|Recall|Drift' ./hashing/fingerprint
	go test -count 1 -v -run 'Pictures|Orientations' ./hashing/pdq
	go test -count 1 -run 'Cost' ./hashing/decode
	go test -count 1 -run 'Bytes|MergePeak|Room|Many|MissAllocates|Damage|Special' ./index
	go test -count 1 ./index/internal/segment
	VIGIE_TEST_CLIPS=$(CLIPS) go test -count 1 -v -timeout 40m -run 'VPDQReference|Clips|Hour|Hostile' ./hashing/video
	go test -count 1 -v -run '^Test(Hostile.*|Kill|BackupUnderLoad|Feed|Chaos|ClusterDemo)$$' ./cmd/vigie
	go test -count 1 -run '^TestScripts$$/^bench_import$$' ./cmd/vigie

# All at one priority, the idle one: the product has its decoders and workers wait for others, so that beside a test of another
# package that keeps every processor busy they would hardly run.
race: gcc postgres s3server duckdb ## run all tests with the race detector and coverage
	@mkdir -p coverage
	CGO_ENABLED=1 $$(chrt -i 0 true 2>/dev/null && echo chrt -i 0) go test -race -json -timeout 60m -covermode=atomic -coverprofile=coverage/profile.txt ./... \
		| go run ./internal/testsum

# The race detector is the only thing that needs a C compiler.
gcc:
	$(call need,gcc,gcc libc6-dev,the race detector)

# The tests start servers of their own from its programs, which Debian keeps out of the way.
INITDB := $(lastword initdb $(wildcard /usr/lib/postgresql/*/bin/initdb))
postgres:
	$(call need,$(INITDB),postgresql,the tests on PostgreSQL)

# The tests start servers of their own from it. It brings the kits of several clouds, and is in no go.mod of ours. Its version
# stands in it, as in any Go program, so that another one is replaced.
VERSITYGW := v1.8.0
s3server: ## install the S3 server of the tests (versitygw) into .tools/bin, if it is missing
	@go version -m .tools/bin/versitygw 2>/dev/null | grep 'mod.github.com/versity/versitygw.$(VERSITYGW)' >/dev/null || { \
		echo "installing versitygw $(VERSITYGW) for the tests on S3"; \
		GOFLAGS=-mod=readonly GOBIN=$(CURDIR)/.tools/bin go install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW); }

# A second reader of the upload history's files.
DUCKDB := .tools/duckdb/node_modules/@duckdb/node-api
duckdb:
	$(call need,node,nodejs,DuckDB)
	$(call need,npm,npm,DuckDB)
	@[ -d $(DUCKDB) ] || npm install --prefix .tools/duckdb --no-audit --no-fund --silent --save-exact @duckdb/node-api@1.5.6-r.1

static: build ## check that the binary needs no library of the system
	@if go version -m bin/vigie | grep -q 'CGO_ENABLED=1'; then echo "bin/vigie was built with cgo"; exit 1; fi
	@if LC_ALL=C grep -aqE 'ld-(linux|musl)[-a-z0-9_]*\.so' <(head -c 8192 bin/vigie); then echo "bin/vigie is linked dynamically"; exit 1; fi
	@echo "bin/vigie is static, $$(stat -c %s bin/vigie) bytes, version $(VERSION)"

# What has code for processors of their own, and the index, which lies in memory as in its files. Left out are tests of what
# the processor does not change, that take long, measure the emulator's memory, start themselves as another program, or
# want to know where a fault was, which the emulator does not say.
arm64: qemu ## build for arm64, and run there, emulated, the tests of the index and of PDQ
	GOARCH=arm64 go build -o /dev/null ./cmd/vigie
	GOARCH=arm64 go test -count 1 -short -exec qemu-aarch64 \
		-skip '^Test(Damage|Machine|Killed.*|Bytes|Room|Postponed|MergePeak|Unreadable)$$' ./index/... ./hashing ./hashing/pdq

qemu:
	$(call need,qemu-aarch64,qemu-user,the tests on arm64)

# Now and then the fuzzing engine takes the end of its own time for a failure, without any input
# ("context deadline exceeded", golang/go#75804, mended in Go 1.27). Then the target is run once more.
fuzz: ## run each fuzz target for FUZZTIME (5s)
	@grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
			echo "fuzz $$(dirname "$$file") $$target $(FUZZTIME)"; \
			run() { go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$(dirname "$$file")" 2>&1; }; \
			if ! out=$$(run); then \
				if grep -q 'context deadline exceeded' <<<"$$out" && ! grep -q 'Failing input' <<<"$$out"; then \
					echo "the engine took its end for a failure; once more"; out=$$(run); \
				else echo "$$out"; exit 1; fi || { echo "$$out"; exit 1; }; \
			fi; \
			grep -v '^fuzz: elapsed' <<<"$$out" || true; \
		done; \
	done

cover: race ## write coverage/index.html
	go tool cover -html coverage/profile.txt -o coverage/index.html

bench: ## run the benchmarks; BENCH names some
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

gen: ## generate code from api/openapi.yaml
	go generate ./api/...

verify: ## check that the generated code is what its sources give
	@before=$$(mktemp); trap 'rm -f "$$before"' EXIT; \
	grep -rlE --include='*.go' '^// Code generated .* DO NOT EDIT\.$$' . | sort | xargs sha256sum > "$$before"; \
	$(MAKE) --no-print-directory gen; \
	sha256sum --check --quiet "$$before" || { echo "generated code was not up to date; it is now: look at it and keep it"; exit 1; }

clean: ## remove what was built
	rm -rf bin coverage
