#!/usr/bin/env bash
# Both stages on UVSSM WeChat with the release's network. Edit: GPUS, OPTION_FILE, PORT.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bash dist_train.sh 1 ./options/train/BIN/train_BIN_x2_UVSSMWeChat.yml 4321
bash dist_train.sh 1 ./options/train/VOTES/train_VOTES_L_x2_SR_UVSSMWeChat.yml 4321
