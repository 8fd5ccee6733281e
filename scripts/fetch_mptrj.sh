#!/bin/bash
# Fetch MPtrj into data/mptrj, where `data=mptrj` looks for it.
#
#   scripts/fetch_mptrj.sh           MACE's own archive (GitHub): one extended XYZ file a material
#   scripts/fetch_mptrj.sh extxyz    matbench-discovery's archive (figshare), the same frames
#   scripts/fetch_mptrj.sh json      the original JSON (figshare), 12 GB
#   scripts/fetch_mptrj.sh urls      only print the addresses
#
# A broken download goes on where it stopped. mace-prepare reads each as it is: nothing is unpacked.
# data/README.md tells them apart.
set -euo pipefail

mace="https://github.com/ACEsuit/mace-mp/releases/download/mace_mp_0/training_data.zip"
extxyz="https://figshare.com/ndownloader/files/49034296"
json="https://figshare.com/ndownloader/files/41619375"

case "${1:-mace}" in
    mace)   url="${mace}"   archive="training_data.zip" ;;
    extxyz) url="${extxyz}" archive="2024-09-03-mp-trj.extxyz.zip" ;;
    json)   url="${json}"   archive="MPtrj_2022.9_full.json" ;;
    urls)
        echo "MACE's training data (extended XYZ):      ${mace}"
        echo "matbench-discovery's (extended XYZ):      ${extxyz}"
        echo "the original (JSON, 12,188,168,685 bytes): ${json}"
        exit 0 ;;
    *) echo "usage: $0 [mace|extxyz|json|urls]" >&2; exit 2 ;;
esac

folder="$(dirname "$0")/../data/mptrj"
mkdir -p "${folder}"
cd "${folder}"

expected="$(curl -sIL "${url}" | tr -d '\r' | awk 'tolower($1) == "content-length:" {n = $2} END {print n}')"
curl --location --fail --continue-at - --output "${archive}" "${url}"
found="$(wc -c < "${archive}" | tr -d ' ')"
if [ -n "${expected}" ] && [ "${expected}" != 0 ] && [ "${found}" != "${expected}" ]; then
    echo "${archive} has ${found} bytes, the server announced ${expected}: run this again" >&2
    exit 1
fi
echo "next: mace-prepare data.train=data/mptrj/${archive} output=shards/mptrj"
