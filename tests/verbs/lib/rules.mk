# SPDX-License-Identifier: BSD-2-Clause
# The test library, and how a program is linked with it.  Included by each test directory.
CC ?= gcc
CFLAGS ?= -O2 -g
TCFLAGS := -std=gnu11 -Wall -Wextra -Werror -pthread
LIBDIR := $(dir $(lastword $(MAKEFILE_LIST)))
LIBSRC := $(wildcard $(LIBDIR)*.c)
LIB := $(OUT)/obj/libt-$(notdir $(CURDIR)).a
LINK = $(CC) $(CFLAGS) $(TCFLAGS) -I$(LIBDIR) -I$(LIBDIR).. -o $@ $(filter %.c,$^) $(LIB) -libverbs

all:

# One archive for each directory that is built: directories may be built at the same time.
$(LIB): $(LIBSRC) $(wildcard $(LIBDIR)*.h)
	@mkdir -p $(OUT)/bin $(OUT)/obj/$(notdir $(CURDIR))
	set -e; for f in $(LIBSRC); do \
		$(CC) $(CFLAGS) $(TCFLAGS) -c $$f \
			-o $(OUT)/obj/$(notdir $(CURDIR))/$$(basename $$f .c).o; \
	done
	rm -f $@
	$(AR) rcs $@ $(OUT)/obj/$(notdir $(CURDIR))/*.o

clean:
	rm -rf $(OUT)/bin $(OUT)/obj
.PHONY: all clean
