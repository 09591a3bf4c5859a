#!/usr/bin/env bash
# A platform measured and a network adapted to it, in some minutes on 2 cores: videos are "uploaded", what comes back is
# paired with the originals, the platform is calibrated, and a small network is fine-tuned and restores a download.
# The platform is a stand-in: options/degrade/demo_platform.yml, which nothing after the first step looks at.
#   bash scripts/platform_demo.sh          makes .venv first; VOTES=COMMAND uses that command instead
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${VOTES:-}" ]; then
    bash scripts/setup.sh
    VOTES=$PWD/.venv/bin/votes
fi
root=$PWD
cd "${DEMO_FOLDER:-$root}"
out=results/platform_demo
mkdir -p "$out"

step() { printf '\n== %s\n' "$*"; }

step 'originals, and the network that exists: trained on pairs of no platform in particular'
[ -d datasets/demo ] || $VOTES demo-data datasets/demo
originals=$out/originals # without those of fine texture that hardly moves: frames of them cannot be told apart
mkdir -p "$originals"
for clip in 001 002 003 004 005 009 010 011; do
    ln -sfn "$PWD/datasets/demo/UVSSM/demo/HQ_frames/$clip" "$originals/$clip"
done
$VOTES train -opt options/train/VDSR/train_VDSR_platform_demo.yml
start=experiments/VDSR_platform_demo/models/net_g_latest.pth

step 'uploaded, and downloaded under other names'
if [ ! -d "$out/downloads" ]; then
    rm -rf "$out/uploaded" "$out/coded"
    $VOTES degrade -opt options/degrade/demo_platform.yml "$originals" "$out/uploaded" --videos "$out/coded" --workers 2
    mkdir -p "$out/downloads.partial"
    number=90
    for file in "$out"/coded/*.mkv; do
        cp "$file" "$out/downloads.partial/VID_$number.mkv"
        number=$((number - 7))
    done
    mv "$out/downloads.partial" "$out/downloads"
fi

step 'which download is of which original'
$VOTES pair "$originals" "$out/downloads" "$out/pairs"

step 'what the platform does'
[ -f "$out/platform.yml" ] || $VOTES calibrate "$out/pairs" -o "$out/platform.yml" --frames 16
$VOTES platform show "$out/platform.yml" | tee "$out/platform.txt"

step 'the network adapted to it'
$VOTES finetune --weights "$start" --data "$out/pairs" --platform demo_platform --epochs 3 --batch 8 --gt-size 64 \
    --lr 5e-4 | tee "$out/finetune.txt"

step 'a download restored'
$VOTES restore "$out/downloads/VID_90.mkv" "$out/restored.mp4" \
    --weights experiments/finetune_demo_platform/models/net_g_best.pth --overwrite

cat <<END

Look at:
  $out/pairs/pairs.html   which download is of which original
  $out/platform.yml       the recipe that was measured; $out/platform.txt says how sure each value is
  $out/finetune.txt       before and after, on clips that were not trained on
  $out/restored.mp4       made from $out/downloads/VID_90.mkv
END
