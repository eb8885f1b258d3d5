#!/usr/bin/env bash
# Builds what is released: a tarball with the binary and what goes with it, and SHA256SUMS, below target/packages/.
#
#   packaging/release.sh [target]      default: this machine's, for example x86_64-unknown-linux-gnu
#
# It needs the Rust toolchain and a C compiler, for a musl target also `rustup target add` and musl-gcc: that binary is
# wholly static. A glibc one needs libc, libm and libgcc_s, of at least the version that is printed at the end.
# No time, path or user of this machine goes into it, so that the same commit, toolchain and C compiler give the same.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

host=$(rustc -vV | sed -n 's/^host: //p')
target=${1:-$host}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
name="tidegate-$version-$target"
out="${CARGO_TARGET_DIR:-$root/target}/packages"

if [ -n "$(git status --porcelain)" ]; then
  echo "warning: there are changes that are in no commit; they will be in the package" >&2
fi
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC CARGO_INCREMENTAL=0
umask 022

# Neither where this was cloned nor where the crates are is to be seen in the binary. Separated by \x1f: paths may have
# spaces.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
flags=("--remap-path-prefix=$root=/tidegate" "--remap-path-prefix=$cargo_home=/cargo")
if [[ $target == *-musl ]]; then
  flags+=(-Ctarget-feature=+crt-static)
fi
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS
export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$root=/tidegate -ffile-prefix-map=$cargo_home=/cargo"

cargo build --locked --profile dist --target "$target" --package tidegate --bin tidegate
binary="${CARGO_TARGET_DIR:-$root/target}/$target/dist/tidegate"

staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
mkdir "$staging/$name"
install -m 755 "$binary" "$staging/$name/tidegate"
install -m 644 LICENSE-APACHE LICENSE-MIT README.md CHANGELOG.md packaging/tidegate.service packaging/tidegate.toml \
  "$staging/$name/"
install -m 644 packaging/README.md "$staging/$name/INSTALL.md"

mkdir -p "$out"
tar --create --directory "$staging" --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" \
  --owner=0 --group=0 --numeric-owner "$name" | gzip --no-name --best > "$out/$name.tar.gz"
(cd "$out" && sha256sum -- *.tar.gz > SHA256SUMS)

echo
echo "$out/$name.tar.gz"
tar --list --verbose --file "$out/$name.tar.gz"
cat "$out/SHA256SUMS"
if [ "$target" = "$host" ]; then
  "$staging/$name/tidegate" --version
fi
if command -v objdump > /dev/null; then
  echo "needs: $(objdump -p "$binary" | sed -n 's/^ *NEEDED *//p' | tr '\n' ' ')"
  echo "glibc: $(objdump -T "$binary" 2> /dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)"
fi
