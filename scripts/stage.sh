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
	[ -n "$(patched_files)" ] || return 0
	mkdir -p "$LOGDIR"
	log=$LOGDIR/quilt-push.log
	if ! quilt_in "$to" push -a --fuzz=0 >"$log" 2>&1; then
		! grep -q 'No space left' "$log" || die "no space left to patch in $to"
		die "$(awk '/^Applying patch/ { patch = $3 }
			/^patching file|^can.t find file/ { file = $NF }
			/^Hunk #.* FAILED/ { print "patch " patch ": hunk " $2 " of " file " failed; log: build/log/quilt-push.log"; said = 1; exit }
			END { if (!said) print "patch " patch " does not apply; log: build/log/quilt-push.log" }' "$log")"
	fi
}

# edited_files: what of series and overlay is not in the tree as 'make tree' left it.
edited_files() {
	[ ! -e "$TREE/.staged.sha256" ] ||
		(cd "$TREE" && { sha256sum --quiet -c .staged.sha256 2>/dev/null || true; } | sed 's/: FAILED.*//')
}

# write_sums: what the tree holds of series and overlay, by which an edit is
# told, and of which patches.
write_sums() {
	(cd "$TREE" && sort -u .staged | while read -r file; do
		[ ! -e "$file" ] || sha256sum "$file"
	done) >"$TREE/.staged.sha256.part"
	note_patches
	mv "$TREE/.staged.sha256.part" "$TREE/.staged.sha256"
}
# note_patches: the tree has them as they are in the repository.
note_patches() {
	patches_sum >"$TREE/.staged.series.part"
	mv "$TREE/.staged.series.part" "$TREE/.staged.series"
}
# patches_sum: of the series as it stands in the repository.
patches_sum() {
	(cd "$PATCHES" && cat "$SERIES" && series_patches | xargs -rd '\n' cat) | sha256sum
}

# link_tree FROM TO: a tree that shares unchanged files by hard links. A file of it
# is replaced by rename (rsync, patch), never written in place.
link_tree() {
	rm -rf "$2" "$2.part"
	mkdir -p "$(dirname "$2")"
	cp -al "$1" "$2.part"
	mv "$2.part" "$2"
}

# push_step STAGE TREE PATCH LOG: the next patch, which is PATCH, from a stage of
# which all were popped into a tree that has those before it.
push_step() {
	quilt_in "$1" push --fuzz=0 >>"$4" 2>&1 || die "$3 does not apply without fuzz"
	(cd "$1" && rsync -rlpc --exclude=.pc --exclude='.staged*' ./ "$2/")
	# What the patch deletes.
	sed -n 's@^--- a/\([^[:space:]]*\).*@\1@p' "$PATCHES/$3" | while read -r file; do
		[ -e "$1/$file" ] || rm -f "$2/$file"
	done
}
