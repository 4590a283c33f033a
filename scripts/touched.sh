# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the series touches of the kernel, and what the compiler says of it.

# touched PATCH...: C files of the kernel to compile, one line each: those that
# the patches change and, for a header, those that stand for its users.
touched() {
	(cd "$PATCHES" && sed -n 's@^+++ b/\([^[:space:]]*\).*@\1@p' "$@") | while read -r f; do
		case "$f" in
		tools/*) ;;
		*.c) echo "$f" ;;
		*.h) printf '%s\n' kernel/events/uprobes.c kernel/fork.c mm/mmap.c \
			kernel/trace/trace_uprobe.c arch/x86/kernel/uprobes.c ;;
		esac
	done | sort -u
}

# complaints: of a compiler's output, each once, without line numbers and without
# the folder of the source, as the compiler was told it.
complaints() {
	sed -E "s@[^[:space:]]*/(src|tree)/$BASE(-steps|-whole)?/@@g; "'s/:[0-9]+(:[0-9]+)?:/:/g' |
		grep -E 'warning:|error:|Error' | sort -u || true
}
