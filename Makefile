# beamgate: every task is a target; `make help` lists them.
#
# Variables: CC=gcc|clang  V=1 (show commands)  SANITIZE=address,undefined (own build directory)  WERROR=1

VERSION := 0.1.0
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build/$(CC)$(if $(SANITIZE),-san)
PREFIX ?= /usr/local
PKGS := libwebsockets libuv jansson libssl libcrypto libcyaml yaml-0.1
ERL_INTERFACE ?= /usr/lib/erlang/usr

Q := $(if $(V),,@)
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings \
        -Wformat=2 -Wno-format-zero-length -Wvla -Wimplicit-fallthrough -Wconversion -Wno-sign-conversion $(if $(WERROR),-Werror)
HARDEN := $(if $(SANITIZE),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fstack-clash-protection -fPIE
SAN := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=undefined)
ALL_CFLAGS = -std=gnu11 -D_REENTRANT -pthread -fno-omit-frame-pointer -DBEAMGATE_VERSION='"$(VERSION)"' \
             -Iinclude -isystem $(ERL_INTERFACE)/include $(shell pkg-config --cflags $(PKGS) 2>/dev/null) \
             $(WARN) $(HARDEN) $(SAN) $(CFLAGS)
LIBS = -L$(ERL_INTERFACE)/lib -lei $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm -lpthread
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now $(SAN) $(LDFLAGS)

LAYERS := base codec gateway cluster edge server
SRC := $(sort $(foreach l,$(LAYERS),$(wildcard c_src/$(l)/*.c)))
LIB_OBJ := $(patsubst c_src/%.c,$(BUILD)/%.o,$(filter-out c_src/server/main.c,$(SRC)))
UNIT := $(patsubst tests/unit/%.c,%,$(sort $(wildcard tests/unit/test_*.c)))

.PHONY: install uninstall deb all bench-codec clean help unit layers fuzz fuzz-run sim sim-run bench demo test e2e fuzz-e2e deps erl_src cli observer \
        observer-clicks observer-load observer-soak torture torture-run
all: $(BUILD)/beamgate ## build the gateway

$(BUILD)/beamgate: $(LIB_OBJ) $(BUILD)/server/main.o
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(BUILD)/%.o: c_src/%.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/edge/console_assets.o: c_src/edge/console.html c_src/edge/console_client.js

$(BUILD)/libbeamgate.a: $(LIB_OBJ)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/unit/%: tests/unit/%.c $(BUILD)/libbeamgate.a
	@mkdir -p $(@D)
	@echo "  TEST  $<"
	$(Q)$(CC) $(ALL_CFLAGS) -Wno-missing-prototypes -Itests/unit -MMD -MP -o $@ $< $(LDFLAGS_ALL) $(BUILD)/libbeamgate.a $(LIBS) -lcmocka

unit: $(addprefix $(BUILD)/unit/,$(UNIT)) ## unit tests (T=test_json for one)
	$(Q)bad=0; for t in $(or $(T),$(UNIT)); do echo "== $$t"; $(TEST_WRAP) $(BUILD)/unit/$$t || bad=1; done; exit $$bad

# Fuzzers link the library built with the same sanitizers; seeds are copied, so the tree stays as it is.
FUZZ := $(patsubst tests/fuzz/%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_SECONDS ?= 10

$(BUILD)/fuzz/%: tests/fuzz/%.c $(BUILD)/libbeamgate.a
	@mkdir -p $(@D)
	@echo "  FUZZ  $<"
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -Itests/fuzz -MMD -MP -o $@ $< $(LDFLAGS_ALL) $(BUILD)/libbeamgate.a $(LIBS)

fuzz: ## run each fuzzer for FUZZ_SECONDS=10 (T=fuzz_json for one)
	$(Q)$(MAKE) --no-print-directory CC=clang BUILD=build/fuzz SANITIZE=fuzzer-no-link,address,undefined fuzz-run

fuzz-run: $(addprefix $(BUILD)/fuzz/,$(or $(T),$(FUZZ)))
	$(Q)for t in $(or $(T),$(FUZZ)); do echo "== $$t"; mkdir -p $(BUILD)/corpus/$$t; \
		$(BUILD)/fuzz/$$t -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 \
			-artifact_prefix=$(BUILD)/$$t- $(BUILD)/corpus/$$t tests/data/fuzz/$${t#fuzz_} >$(BUILD)/$$t.log 2>&1 \
			|| { tail -n 40 $(BUILD)/$$t.log; exit 1; }; grep number_of_executed $(BUILD)/$$t.log; done

# The simulator links the library with calls of random_u64() and random_bytes() led to its own, which follow the seed.
SIM_OBJ := $(patsubst tests/sim/%.c,$(BUILD)/sim/%.o,$(wildcard tests/sim/*.c))
SEEDS ?= 5000

$(BUILD)/sim/%.o: tests/sim/%.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(ALL_CFLAGS) -D_GNU_SOURCE -Itests/unit -MMD -MP -c -o $@ $<

$(BUILD)/sim/sim: $(SIM_OBJ) $(BUILD)/libbeamgate.a
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -Wl,--wrap=random_u64,--wrap=random_bytes -o $@ $^ $(LIBS) -lcmocka

sim: ## simulate the request pipeline, SEEDS=5000 runs under ASan and UBSan (SEED=7: one, with its events)
	$(Q)$(MAKE) --no-print-directory SANITIZE=address,undefined sim-run

sim-run: $(BUILD)/sim/sim
	$(Q)$< $(if $(SEED),-s $(SEED),$(SEEDS))

# The lower layers with their allocations led to the test's own: it fails them one by one.
TORTURE_OBJ := $(filter $(BUILD)/base/% $(BUILD)/codec/% $(BUILD)/gateway/%,$(LIB_OBJ))

$(BUILD)/torture/layers.a: $(TORTURE_OBJ)
	@mkdir -p $(@D)
	$(Q)rm -f $@ && ar rcs $@ $^ && objcopy $(foreach f,malloc calloc realloc free,--redefine-sym $(f)=torture_$(f)) $@

$(BUILD)/torture/torture: tests/torture/torture.c $(BUILD)/torture/layers.a
	@echo "  TEST  $<"
	$(Q)$(CC) $(ALL_CFLAGS) -Wno-missing-prototypes -Itests/unit -MMD -MP -o $@ $< $(LDFLAGS_ALL) $(BUILD)/torture/layers.a $(LIBS) -lcmocka

torture: ## fail each allocation of the lower layers in turn, under ASan and UBSan
	$(Q)$(MAKE) --no-print-directory SANITIZE=address,undefined torture-run

torture-run: $(BUILD)/torture/torture
	$(Q)$<

BENCH_OBJ := $(patsubst tests/bench/%.c,$(BUILD)/bench/%.o,$(wildcard tests/bench/lg_*.c) tests/bench/loadgen.c)

$(BUILD)/bench/%.o: tests/bench/%.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/bench/loadgen: $(BENCH_OBJ)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lm

$(BUILD)/bench/lws_echo: $(BUILD)/bench/lws_echo.o
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(shell pkg-config --libs libwebsockets libuv)

$(BUILD)/bench/rex_call: $(BUILD)/bench/rex_call.o $(BUILD)/libbeamgate.a
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(BUILD)/bench/micro: $(addprefix $(BUILD)/bench/,micro.o micro_jansson.o micro_rate.o micro_limit.o micro_token.o micro_pipeline.o micro_rpc.o) $(BUILD)/libbeamgate.a
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

bench-codec: $(BUILD)/bench/micro ## time the codec steps of a request, beside jansson
	$(Q)$<

bench: $(BUILD)/beamgate $(addprefix $(BUILD)/bench/,loadgen lws_echo rex_call micro) ## measure (QUICK=1: two minutes; SECONDS=3; REPEAT=1; ROUNDS=5; ONLY="echo idle")
	$(Q)QUICK="$(QUICK)" WINDOW="$(SECONDS)" ONLY="$(ONLY)" REPEAT="$(or $(REPEAT),1)" ROUNDS="$(ROUNDS)" KEEP="$(KEEP)" \
		sh tests/bench/run.sh $(BUILD)

demo: ## install what is missing, build, start a demo cluster and make some calls (ONCE=1: then end)
	$(Q)sh tests/setup.sh run
	$(Q)$(MAKE) -s all erl_src
	$(Q)BEAMGATE=$(BUILD)/beamgate ONCE=$(ONCE) node tests/e2e/demo.js

test: ## install what is missing, then every test (ONLY="unit e2e" for some)
	$(Q)sh tests/setup.sh test
	$(Q)node tests/run_all.js

e2e: all erl_src ## end-to-end tests (T=cluster for one file)
	$(Q)BEAMGATE=$(BUILD)/beamgate node tests/e2e/run.js $(T)

fuzz-e2e: ## hostile clients by seed against a sanitized gateway (SEED=1 ROUNDS=100)
	$(Q)$(MAKE) --no-print-directory SANITIZE=address,undefined all erl_src
	$(Q)BEAMGATE=build/$(CC)-san/beamgate E2E_SLOW=3 SEED=$(or $(SEED),1) ROUNDS=$(or $(ROUNDS),100) node tests/e2e/run.js fuzz

interop: all erl_src ## the gateway among OTP 27 nodes, in a Debian 13 tree (root)
	$(Q)sh tests/interop/otp27.sh
	$(Q)BEAMGATE=$(BUILD)/beamgate node --test tests/e2e/interop27.test.js

observer: all erl_src ## the real Observer on a gateway, OTP 25 and 27; pictures in build/observer (root)
	$(Q)sh tests/interop/otp27.sh observer
	$(Q)OBSERVER_PICTURES=build/observer BEAMGATE=$(BUILD)/beamgate node tests/e2e/run.js observer_gui

observer-clicks: all erl_src ## clicks through the real Observer for MINUTES=10, on OTP 25 and 27 (root)
	$(Q)sh tests/interop/otp27.sh observer
	$(Q)MINUTES=$(or $(MINUTES),10) BEAMGATE=$(BUILD)/beamgate node tests/e2e/run.js observer_clicks

observer-soak: all erl_src ## WATCHERS=20 Observers for MINUTES=60 must leave nothing behind
	$(Q)BEAMGATE=$(BUILD)/beamgate MINUTES=$(MINUTES) WATCHERS=$(WATCHERS) node tests/bench/observer_soak.js

observer-load: $(BUILD)/beamgate $(BUILD)/bench/loadgen erl_src ## what Observer costs a gateway with CLIENTS=10000
	$(Q)BEAMGATE=$(BUILD)/beamgate CLIENTS=$(CLIENTS) node tests/bench/observer_load.js

deps: ## install from Debian and npm what building and testing need
	$(Q)sh tests/setup.sh test

erl_src: build/erl/.made ## compile the Elixir nodes of the demo and the tests
build/erl/.made: $(wildcard erl_src/*.ex)
	$(Q)rm -rf $(@D) && mkdir -p $(@D) && elixirc -o $(@D) $^ && touch $@

cli: $(BUILD)/beamgate ## the command line, exit codes, start and stop
	$(Q)sh tests/cli.sh $(BUILD)/beamgate

# DESTDIR is for packages. The configuration is installed as an example: the one in use is the operator's.
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man/man1
UNITDIR ?= $(PREFIX)/lib/systemd/system
install: $(BUILD)/beamgate ## install program, manual, completion, unit and example (PREFIX=/usr/local DESTDIR=)
	install -D -m 755 $(BUILD)/beamgate $(DESTDIR)$(BINDIR)/beamgate
	install -D -m 644 rel/beamgate.1 $(DESTDIR)$(MANDIR)/beamgate.1
	install -D -m 644 rel/beamgate-ctl.1 $(DESTDIR)$(MANDIR)/beamgate-ctl.1
	install -D -m 644 rel/beamgate.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/beamgate
	install -d $(DESTDIR)$(UNITDIR)
	sed 's|/usr/bin/beamgate|$(BINDIR)/beamgate|' rel/beamgate.service >$(DESTDIR)$(UNITDIR)/beamgate.service
	install -D -m 644 rel/beamgate.yml $(DESTDIR)$(PREFIX)/share/doc/beamgate/beamgate.yml

uninstall: ## remove what install has put there
	rm -f $(DESTDIR)$(BINDIR)/beamgate $(DESTDIR)$(MANDIR)/beamgate.1 $(DESTDIR)$(MANDIR)/beamgate-ctl.1 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/beamgate $(DESTDIR)$(UNITDIR)/beamgate.service \
		$(DESTDIR)$(PREFIX)/share/doc/beamgate/beamgate.yml

deb: $(BUILD)/beamgate ## a Debian package of this machine's architecture, in build/
	$(Q)sh rel/debian/build.sh $(VERSION) build

layers: ## check that a file includes only its own or lower layers
	$(Q)sh tests/layers.sh $(LAYERS)

citations: ## check that numbers, metrics and the tests of promises are where the documents say
	$(Q)sh tests/citations.sh

cppcheck: ## cppcheck over the sources
	$(Q)cppcheck --std=c11 --enable=warning,performance,portability -q -DCPPCHECK -Iinclude --library=tests/cppcheck.cfg \
		--suppressions-list=tests/cppcheck.suppress --suppress=missingIncludeSystem --error-exitcode=1 c_src

lint: cppcheck ## cppcheck and clang-tidy
	$(Q)clang-tidy --quiet --warnings-as-errors='*' $(SRC) -- -std=gnu11 -D_REENTRANT -Iinclude -isystem $(ERL_INTERFACE)/include \
		$(shell pkg-config --cflags $(PKGS)) -DBEAMGATE_VERSION='"$(VERSION)"'

clean: ## remove what was built
	rm -rf build

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9_-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
