#!/usr/bin/env bash
# The release's network on the test clips of UVSSM WeChat. Edit: GPUS, OPTION_FILE, PORT.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bash dist_test.sh 1 ./options/test/VOTES/test_VOTES_L_x2_SR_UVSSMWeChat.yml 4321
