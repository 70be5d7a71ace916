# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# `make' builds ./qemu-snap, `make help' lists the rest. V=1 shows commands.
# Another BUILD directory keeps objects made with other flags apart.

BUILD ?= build
CFLAGS ?= -O2 -g
PKG_CONFIG ?= pkg-config
PACKAGES := glib-2.0 json-glib-1.0
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wredundant-decls -Wwrite-strings -Wvla \
	-Wpointer-arith -Wformat=2 -Wundef -Wno-unused-parameter \
	-Wno-missing-field-initializers
ifneq ($(WERROR),)
WARNINGS += -Werror
endif
PROGRAM ?= qemu-snap
LIBS = $(shell $(PKG_CONFIG) --libs $(PACKAGES)) -laio
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude \
	$(shell $(PKG_CONFIG) --cflags $(PACKAGES)) $(WARNINGS) $(CFLAGS)
# Asked once, not for every object.
LIBS := $(LIBS)
ALL_CFLAGS := $(ALL_CFLAGS)

ifeq ($(V),)
QUIET = @printf '  %-6s %s\n' $(1) $(2);
endif

SOURCES := $(wildcard util/*.c block/*.c qcow2/*.c migration/*.c) \
	$(wildcard snap-*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
UNIT_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test-*.c))
UNIT_COMMON := $(patsubst %.c,$(BUILD)/%.o, \
	$(filter-out tests/unit/test-%,$(wildcard tests/unit/*.c)))

all: $(PROGRAM) ## build ./qemu-snap

$(PROGRAM): $(OBJECTS) $(BUILD)/qemu-snap.o
	$(call QUIET,LINK,$@)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call QUIET,CC,$<)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Check's assertion macros compare a literal with NULL in ways that the
# stricter format warnings dislike.
$(BUILD)/tests/%.o: ALL_CFLAGS += -Wno-format-nonliteral

$(UNIT_TESTS): $(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(UNIT_COMMON) \
		$(OBJECTS)
	$(call QUIET,LINK,$@)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) \
		$(shell $(PKG_CONFIG) --libs check)

unit-tests: $(UNIT_TESTS)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

clean: ## remove everything that was built
	rm -rf $(BUILD) qemu-snap

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' \
		$(MAKEFILE_LIST)

format: ## apply .clang-format to all C files
	clang-format -i $$(git ls-files '*.c' '*.h')

.PHONY: all clean help format unit-tests
.DELETE_ON_ERROR:
.SECONDARY:
