#!/bin/sh
# tests/run.sh, with all 10,000 test pictures of Fashion-MNIST instead of the first 1,000.
set -eu
UNBRAID_PICTURES=10000 exec sh "$(dirname "$0")/run.sh"
