# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Packages of a Debian suite that this system may not use: apt gets a state folder
# of its own, in which nothing is installed; the system's stays as it is.

# suite_apt DIR ARGUMENT...: apt-get with its state in DIR.
suite_apt() {
	local dir=$1; shift
	apt-get -q -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=- \
		-o Dir::State="$dir/state" -o Dir::State::lists="$dir/state/lists" \
		-o Dir::State::status="$dir/state/status" -o Dir::Cache="$dir/cache" \
		-o APT::Sandbox::User=root -o APT::Update::Error-Mode=any -o Acquire::Retries=1 "$@"
}

# suite_update DIR SUITE: what SUITE has, from where this system has Debian's archive.
suite_update() {
	local mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	# shellcheck disable=SC2016	# apt expands it
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' | sed -n 1p)
	[ -n "$mirror" ] || { echo "apt knows no Debian archive: run 'apt-get update'"; return 1; }
	[ -r "$keyring" ] || { echo "$keyring is missing: apt-get install debian-archive-keyring"; return 1; }
	mkdir -p "$1"/{state/lists,cache/archives}/partial
	: >"$1/state/status"
	echo "deb [signed-by=$keyring] $mirror $2 main" >"$1/sources.list"
	suite_apt "$1" update
}
