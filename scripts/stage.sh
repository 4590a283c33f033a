# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Staging: the few files that the series and the overlay touch, patched in a
# folder of their own. A tree is changed only after all patches went in there.

# overlay_files: lines "where-in-repo<TAB>where-in-tree" of all overlaid files.
overlay_files() {
	(cd "$ROOT" && find tools selftests -type f ! -name '.*' | sort) |
		sed 's|\(.*\)|\1\t\1|; s|\tselftests/|\ttools/testing/selftests/uprobes/|'
}

# patched_files: paths, in the tree, that the series touches.
patched_files() {
	sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$SERIES" | while read -r patch _; do
		[ -r "$PATCHES/$patch" ] || die "series names $patch, which is not in kernel-patches/$BASE"
		sed -n 's@^\(---\|+++\) [ab]/\([^[:space:]]*\).*@\2@p' "$PATCHES/$patch"
	done | sort -u
}

# quilt_in DIR ARGS...: quilt without the user's settings.
quilt_in() {
	local dir=$1; shift
	(cd "$dir" && QUILT_PATCHES=$PATCHES QUILT_SERIES=$SERIES QUILT_PC=.pc \
		quilt --quiltrc - "$@")
}

# stage FROM TO: copy, overlay and push. TO/.staged lists what it holds.
stage() {
	local from=$1 to=$2 file repo log
	rm -rf "$to"
	mkdir -p "$to"
	patched_files >"$to/.staged"
	while read -r file; do
		[ -e "$from/$file" ] || continue
		(cd "$from" && cp --parents -p "$file" "$to")
	done <"$to/.staged"
	while IFS=$'\t' read -r repo file; do
		[ ! -e "$SRC/$file" ] || die "overlay would replace $file of the base: make it a patch"
		mkdir -p "$to/$(dirname "$file")"
		cp -p "$ROOT/$repo" "$to/$file"
		printf '%s\n' "$file" >>"$to/.staged"
	done < <(overlay_files)
	[ -s "$SERIES" ] && patched_files | grep -q . || return 0
	mkdir -p "$LOGDIR"
	log=$LOGDIR/quilt-push.log
	if ! quilt_in "$to" push -a --fuzz=0 >"$log" 2>&1; then
		die "$(awk '/^Applying patch/ { patch = $3 }
			/^patching file|^can.t find file/ { file = $NF }
			/^Hunk #.* FAILED/ { print "patch " patch ": hunk " $2 " of " file " failed; log: build/log/quilt-push.log"; said = 1; exit }
			END { if (!said) print "patch " patch " does not apply; log: build/log/quilt-push.log" }' "$log")"
	fi
}
