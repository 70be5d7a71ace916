# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `make' builds ./qemu-snap, `make help' lists the rest. V=1 shows commands.
# Another BUILD directory keeps objects made with other flags apart.

BUILD ?= build
PROGRAM ?= qemu-snap
CFLAGS ?= -O2 -g
PKG_CONFIG ?= pkg-config
PREFIX ?= /usr/local
INSTALL ?= install
PACKAGES := glib-2.0 json-glib-1.0 liburing zlib libzstd libxxhash
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wredundant-decls -Wwrite-strings -Wvla -Walloca \
	-Wpointer-arith -Wformat=2 -Wundef -Wno-unused-parameter \
	-Wno-missing-field-initializers -Wmissing-declarations \
	-Wimplicit-fallthrough -Wnull-dereference -Wdouble-promotion \
	-Wfloat-conversion -Wunused-macros -Wdate-time
ifneq ($(findstring clang,$(shell $(CC) --version 2>&1)),)
WARNINGS += -Wmissing-variable-declarations -Wconditional-uninitialized \
	-Wcomma -Wunreachable-code
else
WARNINGS += -Wlogical-op -Wduplicated-cond -Wduplicated-branches \
	-Wformat-signedness
endif
ifneq ($(WERROR),)
WARNINGS += -Werror
endif
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined

# Asked once and not for every object. Empty before `make deps'.
HAVE_PACKAGES := $(shell $(PKG_CONFIG) --exists $(PACKAGES) 2>/dev/null && \
	echo yes)
LIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null) -laio
CHECK_LIBS = $(shell $(PKG_CONFIG) --libs check)
PACKAGE_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
LANGUAGE := -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude
ALL_CFLAGS := $(LANGUAGE) $(PACKAGE_CFLAGS) $(WARNINGS) $(CFLAGS)

ifeq ($(V),)
QUIET = @printf '  %-6s %s\n' $(1) $(2);
endif

SOURCES := $(wildcard util/*.c block/*.c qcow2/*.c migration/*.c snap-*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
UNIT_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test-*.c))
UNIT_COMMON := $(patsubst %.c,$(BUILD)/%.o, \
	$(filter-out tests/unit/test-%,$(wildcard tests/unit/*.c)))

# Hostile input: each target becomes a fuzzer, and all of them together one
# program that replays files. Only what they need is built.
FUZZ_TARGETS ?= header snapshot-table image check compressed stream trailer devices command-line
FUZZ_SECONDS ?= 60
FUZZERS := $(FUZZ_TARGETS:%=$(BUILD)/tests/fuzz/fuzz-%)
FUZZ_ENTRIES := $(FUZZ_TARGETS:%=$(BUILD)/tests/fuzz/entry-%.o)
FUZZ_OBJECTS := $(patsubst %.c,$(BUILD)/%.o, \
	$(filter-out %/entry.c %/replay.c,$(wildcard tests/fuzz/*.c)) \
	$(wildcard qcow2/*.c migration/*.c) \
	$(addprefix block/,block-file.c io-vector.c memory-file.c) \
	$(addprefix util/,coroutine.c coroutine-lock.c event-loop.c printable.c \
	size.c snap-error.c trace.c) \
	snap-command-line.c snap-commands.c snap-help.c \
	snap-buffers.c snap-classic.c snap-depth.c snap-mapped.c \
	$(addprefix tests/unit/,qcow2-fixture.c qcow2-fixture-build.c \
	qcow2-fixture-run.c stream-builder.c))
UNIT_ARCHIVE := $(BUILD)/tests/unit/common.a

BENCH_PROGRAMS := $(addprefix $(BUILD)/tests/bench/, measure reference-ring \
	pipe-ways delayed-load make-stream)

all: $(PROGRAM) ## build ./qemu-snap (the default)

$(PROGRAM): $(OBJECTS) $(BUILD)/qemu-snap.o
	$(call QUIET,LINK,$@)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c Makefile
	$(if $(HAVE_PACKAGES),,$(error libraries are missing: run `make deps'))
	@mkdir -p $(@D)
	$(call QUIET,CC,$<)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Check's macros compare literals with NULL, which -Wformat=2 dislikes.
$(BUILD)/tests/%.o: ALL_CFLAGS += -Wno-format-nonliteral

# An archive, so that a test is linked with nothing but what it needs.
$(UNIT_ARCHIVE): $(UNIT_COMMON) $(OBJECTS)
	$(call QUIET,AR,$@)rm -f $@ && $(AR) rcs $@ $^

$(UNIT_TESTS): $(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(UNIT_ARCHIVE)
	$(call QUIET,LINK,$@)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) \
		$(CHECK_LIBS)

bench-programs: $(BENCH_PROGRAMS)

$(BUILD)/tests/bench/delayed-load: $(BUILD)/tests/bench/delay-file.o $(OBJECTS)
$(BUILD)/tests/bench/make-stream: $(BUILD)/tests/unit/stream-builder.o \
	$(OBJECTS)
$(BUILD)/tests/bench/make-stream: LIBS += $(CHECK_LIBS)
$(BENCH_PROGRAMS): $(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o
	$(call QUIET,LINK,$@)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(FUZZ_ENTRIES): $(BUILD)/tests/fuzz/entry-%.o: tests/fuzz/entry.c Makefile
	@mkdir -p $(@D)
	$(call QUIET,CC,$@)$(CC) $(ALL_CFLAGS) -DFUZZ_TARGET=fuzz_$(subst -,_,$*) \
		-MMD -MP -c -o $@ $<

# What the stream reader says, for tests with other machines.
ACCOUNT := $(BUILD)/tests/machines/account

$(ACCOUNT): $(ACCOUNT).o $(BUILD)/tests/unit/stream-builder.o \
		$(addprefix $(BUILD)/tests/fuzz/,assertions.o fuzz.o) $(OBJECTS)
	$(call QUIET,LINK,$@)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# By a compiler that knows what links a fuzzer: see `make fuzz'.
$(FUZZERS): $(BUILD)/tests/fuzz/fuzz-%: $(BUILD)/tests/fuzz/entry-%.o \
		$(FUZZ_OBJECTS)
	$(call QUIET,LINK,$@)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

fuzzers: $(FUZZERS)

$(BUILD)/tests/fuzz/replay: $(BUILD)/tests/fuzz/replay.o $(FUZZ_OBJECTS)
	$(call QUIET,LINK,$@)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

deps: ## install what building and testing needs (Debian; with sudo)
	@tests/install-deps.sh

# The compiler's flags are found out when make starts, so what may only just
# have been installed is used by a make of its own.
demo: deps ## save and restore a real guest, to watch
	@$(MAKE) --no-print-directory all
	@tests/demo.sh

check: deps ## all tests, in under three minutes
	@$(MAKE) --no-print-directory -j$$(nproc) all unit-tests
	@$(MAKE) --no-print-directory check-unit check-corpus check-behaviour

unit-tests: $(UNIT_TESTS)

# Side by side, each one's words in one piece.
check-unit: $(UNIT_TESTS) ## unit tests alone
	@printf '%s\n' $(UNIT_TESTS) | xargs -P $$(($$(nproc) + 1)) -I {} \
		sh -c 'words=$$($(UNIT_WRAPPER) {} 2>&1); status=$$?; \
			printf "%s\n" "$$words"; exit $$status'

check-behaviour: all ## tests of the command line and with real QEMU alone
	@tests/run

# Not in `make check': these packages are 55 MB to fetch and 257 MB on disk.
check-machines: deps ## streams of ARM, RISC-V, s390x and more x86; two minutes
	@tests/install-deps.sh qemu-system-arm qemu-system-misc
	@$(MAKE) --no-print-directory -j$$(nproc) all $(ACCOUNT)
	@ACCOUNT=$(abspath $(ACCOUNT)) TEST_LIMIT=600 tests/run tests/machines/*.sh

check-long: deps ## the same with many more rounds; takes hours
	@$(MAKE) --no-print-directory -j$$(nproc) all unit-tests
	@ROUNDS=200 $(MAKE) --no-print-directory check-unit
	@ROUNDS=200 TEST_LIMIT=3600 tests/run

SANITIZED := BUILD=$(BUILD)/sanitizers \
	PROGRAM=$(BUILD)/sanitizers/qemu-snap \
	CFLAGS='-O1 -g -fno-omit-frame-pointer $(SANITIZERS)'

check-sanitizers: deps ## unit tests under ASan and UBSan
	@$(MAKE) --no-print-directory $(SANITIZED) check-unit

# A finding may happen where a test expects an error: so all of them are kept.
# Something is preloaded by one test, in front of the sanitizer's library.
check-sanitizers-behaviour: deps ## the other tests under them; ten minutes
	@$(MAKE) --no-print-directory $(SANITIZED) all
	@rm -f $(BUILD)/sanitizers/report.*
	@report=log_path=$(abspath $(BUILD)/sanitizers/report); \
		ASAN_OPTIONS=verify_asan_link_order=0:$$report \
		UBSAN_OPTIONS=$$report TEST_LIMIT=600 \
		QEMU_SNAP=$(abspath $(BUILD)/sanitizers/qemu-snap) tests/run $(TESTS)
	@! cat $(BUILD)/sanitizers/report.* 2>/dev/null

# Those whose program has several threads. Not the coroutines': they count
# mappings, and ThreadSanitizer makes some of its own for each stack.
TSAN_TESTS := aio-engine bounce cached-read clone discard event-loop host-file \
	host-file-automatic host-file-cache host-file-open image-lock interrupt \
	snap-io snap-pump-in snap-pump-out snap-spool thread-pool
TSAN_OPTIONS := atexit_sleep_ms=0 ignore_noninstrumented_modules=1

# What GLib does with its own memory, and how it hands that from thread to
# thread, is not seen. And it is no use to wait a second at each exit.
check-tsan: deps ## unit tests with threads under ThreadSanitizer
	@G_SLICE=always-malloc TSAN_OPTIONS="$(TSAN_OPTIONS)" \
		$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan \
		CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=thread' \
		UNIT_TESTS='$(TSAN_TESTS:%=$(BUILD)/tsan/tests/unit/test-%)' check-unit

check-valgrind: deps ## unit tests under valgrind; some ten minutes
	@tests/install-deps.sh valgrind
	@CK_FORK=no G_SLICE=always-malloc $(MAKE) --no-print-directory check-unit \
		UNIT_WRAPPER='valgrind -q --error-exitcode=1 --leak-check=full \
		--show-leak-kinds=definite --errors-for-leak-kinds=definite'

# Built for speed of the build: it runs for a second.
check-corpus: ## replay what fuzzing has found, under ASan and UBSan
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=$(BUILD)/corpus \
		CFLAGS='-O0 -g $(SANITIZERS)' $(BUILD)/corpus/tests/fuzz/replay
	@tests/fuzz/replay.sh $(BUILD)/corpus/tests/fuzz/replay

fuzz-deps: deps ## install what fuzzing needs besides
	@tests/install-deps.sh clang libclang-rt-dev llvm

fuzz: fuzz-deps ## FUZZ_SECONDS (60) for each of the FUZZ_TARGETS, with clang
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CC=clang \
		CFLAGS='-O1 -g -fno-omit-frame-pointer $(SANITIZERS) \
		-fsanitize=fuzzer-no-link' fuzzers
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/fuzz.sh \
		$(BUILD)/fuzz/tests/fuzz $(FUZZ_TARGETS)

fuzz-afl: fuzz-deps ## the same with AFL++
	@tests/install-deps.sh afl++
	@AFL_QUIET=1 $(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz-afl \
		CC=afl-clang-fast CFLAGS='-O1 -g $(SANITIZERS)' fuzzers
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/fuzz-afl.sh \
		$(BUILD)/fuzz-afl/tests/fuzz $(FUZZ_TARGETS)

static-deps: ## install what the static checks need besides
	@tests/install-deps.sh clang-tidy cppcheck shellcheck

# Without clang-tidy's analyzer, which takes ten times as long as all others.
check-static: deps static-deps ## shellcheck, cppcheck, clang-tidy's quick part
	@$(MAKE) --no-print-directory check-scripts check-cppcheck check-tidy \
		TIDY_FLAGS='--checks=-clang-analyzer-*'

check-scripts: static-deps
	@shellcheck --severity=info $$(git ls-files '*.sh' .ci/run tests/run \
		completion/qemu-snap)

check-cppcheck: static-deps
	@cppcheck -q -j $$(nproc) --std=c11 --error-exitcode=1 --inline-suppr \
		--enable=warning,performance,portability,style \
		--suppressions-list=.cppcheck --library=gtk,posix,gnu \
		-D_GNU_SOURCE -Iinclude $(SOURCES) qemu-snap.c

# Nothing is said about the headers of libraries.
check-tidy: static-deps ## all of clang-tidy; some minutes
	@printf '%s\n' $(SOURCES) qemu-snap.c | xargs -P $$(nproc) -I {} \
		sh -c 'words=$$(clang-tidy --quiet $(TIDY_FLAGS) {} -- $(LANGUAGE) \
			$(PACKAGE_CFLAGS:-I%=-isystem%) 2>&1) && exit; \
			printf "%s\n" "$$words"; exit 1'

COVERED := BUILD=$(BUILD)/coverage/objects \
	PROGRAM=$(BUILD)/coverage/objects/qemu-snap LDFLAGS=--coverage \
	CFLAGS='-O0 -g --coverage -fprofile-update=atomic'

coverage: deps ## what the tests reach, as pages in build/coverage
	@tests/install-deps.sh lcov
	@$(MAKE) --no-print-directory $(COVERED) all unit-tests
	@find $(BUILD)/coverage/objects -name '*.gcda' -delete
	@$(MAKE) --no-print-directory $(COVERED) check-unit
	@QEMU_SNAP=$(abspath $(BUILD)/coverage/objects/qemu-snap) \
		TEST_LIMIT=600 tests/run $(TESTS)
	@tests/coverage.sh $(BUILD)/coverage/objects $(BUILD)/coverage

bench-deps: deps ## install what measuring needs besides
	@tests/install-deps.sh fio gnuplot-nox

bench: bench-deps ## measure beside dd, fio and QEMU; a JSON record per case
	@$(MAKE) --no-print-directory all bench-programs >&2
	@tests/bench/bench.sh

bench-report: bench-deps ## from records (RECORDS=file) to docs/performance.md
	@$(MAKE) --no-print-directory all bench-programs >&2
	@tests/bench/report.sh $(RECORDS)

BIN_DIR = $(DESTDIR)$(PREFIX)/bin
MAN_DIR = $(DESTDIR)$(PREFIX)/share/man/man1
COMPLETION_DIR = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
DOC_DIR = $(DESTDIR)$(PREFIX)/share/doc/qemu-snap

install: $(PROGRAM) ## install below PREFIX (/usr/local), in DESTDIR if given
	$(INSTALL) -d $(BIN_DIR) $(MAN_DIR) $(COMPLETION_DIR) $(DOC_DIR)
	$(INSTALL) -m 755 $(PROGRAM) $(BIN_DIR)/qemu-snap
	$(INSTALL) -m 644 docs/qemu-snap.1 $(MAN_DIR)/qemu-snap.1
	$(INSTALL) -m 644 completion/qemu-snap $(COMPLETION_DIR)/qemu-snap
	$(INSTALL) -m 644 README.md LICENSE docs/json.md docs/trailer.md \
		$(DOC_DIR)

uninstall: ## remove what `make install' has put there
	rm -f $(BIN_DIR)/qemu-snap $(MAN_DIR)/qemu-snap.1 \
		$(COMPLETION_DIR)/qemu-snap $(DOC_DIR)/README.md \
		$(DOC_DIR)/LICENSE $(DOC_DIR)/json.md $(DOC_DIR)/trailer.md
	[ ! -d $(DOC_DIR) ] || rmdir $(DOC_DIR)

format: ## apply .clang-format to all C files
	clang-format -i $$(git ls-files '*.c' '*.h')

clean: ## remove everything that was built
	rm -rf $(BUILD) $(PROGRAM)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-26s %s\n", $$1, $$2 }' \
		$(MAKEFILE_LIST)

.PHONY: all bench bench-deps bench-programs bench-report check \
	check-behaviour check-corpus check-cppcheck check-long check-machines \
	check-sanitizers check-sanitizers-behaviour check-scripts check-static \
	check-tidy check-tsan check-unit check-valgrind clean coverage demo deps \
	format fuzz fuzz-afl fuzz-deps fuzzers help install static-deps uninstall \
	unit-tests
.DELETE_ON_ERROR:
.SECONDARY:
