#!/bin/sh
# Everything that wants a GPU, part by part; a part goes on where the one before failed.
#   sh benchmarks/gpu_check.sh                    all parts
#   sh benchmarks/gpu_check.sh build test         some of: build probe test sanitize conv network train
# Each part ends within 10 minutes; where a call may not last longer, ask for one part a call.
# PYTHON names the interpreter with torch; RESULTS the folder for logs (default build/gpu).
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python}
RESULTS=${RESULTS:-build/gpu}
mkdir -p "$RESULTS" && RESULTS=$(cd "$RESULTS" && pwd) || exit 1
LIBRARY=$RESULTS/kernels.so
summary=""
failed=0

part() {  # part NAME SECONDS COMMAND...: runs it under a time limit and remembers how it went
    name=$1 limit=$2
    shift 2
    echo "== $name"
    if timeout "$limit" "$@" >"$RESULTS/$name.log" 2>&1; then state=passed; else state=FAILED; failed=1; fi
    tail -n 15 "$RESULTS/$name.log"
    summary="$summary
$name: $state"
}

build() {
    part build-kernels 300 nvcc -std=c++17 -O3 -arch=native -Xcompiler=-fPIC,-fvisibility=hidden \
        -shared -cudart=static -o "$LIBRARY" csrc/cuda/*.cu tests/cuda/probe.cu
    YOLO_CUDA=1 part build-package 300 "$PYTHON" setup.py -q build_ext --inplace
}
probe() {  # the emulator's idea of mma, ldmatrix and conversions, bit for bit
    YOLO_CUDA_LIBRARY=$LIBRARY part probe 120 "$PYTHON" -m pytest tests/cuda/test_machine.py
}
tests() {
    YOLO_CUDA_LIBRARY=$LIBRARY part test 300 "$PYTHON" -m pytest tests/cuda -m "not long"
}
sanitize() {
    for tool in memcheck racecheck; do
        YOLO_CUDA_LIBRARY=$LIBRARY part "$tool" 280 compute-sanitizer --tool "$tool" \
            --error-exitcode 1 "$PYTHON" -m pytest tests/cuda/test_conv.py -k "(implicit and shape0) or (stem and shape3)"
    done
}
conv() {
    for precision in bf16 tf32; do
        part "conv-$precision" 290 "$PYTHON" benchmarks/bench_conv.py --device cuda --batch 16 \
            --cfg cfg/yolov3.cfg --precision "$precision" --pairs 20 \
            --json "$RESULTS/conv-$precision.json"
    done
}
network() {
    for batch in 1 16; do
        part "network-$batch" 290 "$PYTHON" benchmarks/bench_network.py --device cuda \
            --precision bf16 --batch "$batch" --json "$RESULTS/network-$batch.json" yolov3:416
    done
}
train() {
    part train 580 "$PYTHON" benchmarks/bench_train.py --cfg cfg/yolov4.cfg --size 608 --batch 16 \
        --precision bf16 --pairs 10 --json "$RESULTS/train.json"
}

nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv
parts=${*:-build probe test sanitize conv network train}
for wanted in $parts; do
    case $wanted in
    build) build ;;
    probe) probe ;;
    test) tests ;;
    sanitize) sanitize ;;
    conv) conv ;;
    network) network ;;
    train) train ;;
    *) echo "no part '$wanted'; parts are build probe test sanitize conv network train" && failed=1 ;;
    esac
done
tables=$(ls "$RESULTS"/*.json 2>/dev/null)
if [ -n "$tables" ]; then "$PYTHON" benchmarks/report.py $tables || failed=1; fi
echo "== summary$summary"
exit $failed
