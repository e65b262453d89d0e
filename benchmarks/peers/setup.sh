#!/bin/sh
# Makes one virtual environment for each peer of the benchmark, under the folder that is given:
#
#     sh benchmarks/peers/setup.sh ENVIRONMENTS
#
# PYTHON names the interpreter (python3.11 by default). torchvision is left out on purpose: two of the packages ask for
# it, none of the code that is measured needs it.
set -eu

folder=${1:?give the folder for the environments}
python=${PYTHON:-python3.11}
torch=torch==2.13.0
mkdir -p "$folder"

make() {
    "$python" -m venv "$folder/$1"
    "$folder/$1/bin/pip" install "$torch"
}

make saelens
"$folder/saelens/bin/pip" install "$torch" sae-lens==6.54.12

make sparsify
"$folder/sparsify/bin/pip" install "$torch" eai-sparsify==1.3.3

make dictionary_learning
"$folder/dictionary_learning/bin/pip" install "$torch" transformers==5.24.0 accelerate einops pillow pydantic \
    "python-socketio[client]" pyyaml requests tqdm
"$folder/dictionary_learning/bin/pip" install --no-deps nnsight==0.3.7 dictionary-learning==0.1.0

make overcomplete
"$folder/overcomplete/bin/pip" install "$torch" einops numpy pillow scikit-learn scipy tqdm
"$folder/overcomplete/bin/pip" install --no-deps overcomplete==0.3.0
