#!/bin/sh
# Everything that wants a GPU, part by part; a part goes on where the one before failed.
#   sh benchmarks/gpu_check.sh                    all parts
#   sh benchmarks/gpu_check.sh build test         some of: build probe test sanitize conv network train
#                                                 compiled train-compiled
# Each part ends within 10 minutes; where a call may not last longer, ask for one part a call. Figures
# are written as they come, so that a part that is stopped leaves those it had.
# PYTHON names the interpreter with torch; RESULTS the folder for logs and tables (default build/gpu).
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python3}
RESULTS=${RESULTS:-build/gpu}
mkdir -p build "$RESULTS" && RESULTS=$(cd "$RESULTS" && pwd) || exit 1
LIBRARY=$PWD/build/gpu_kernels.so
PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
export PYTHONUNBUFFERED=1
# what was stopped has named each test that it ran; a kernel that never ends ends its run
PYTEST="-m pytest -vv --tb=short --timeout 100 --timeout-method thread"
ALL="build probe test sanitize conv network train compiled train-compiled"
summary=""
failed=0

part() {  # part NAME SECONDS COMMAND...: runs it under a time limit and remembers how it went
    name=$1 limit=$2
    shift 2
    echo "== $name"
    if timeout -k 10 "$limit" "$@" >"$RESULTS/$name.log" 2>&1; then state=passed; else state=FAILED; failed=1; fi
    tail -n 15 "$RESULTS/$name.log"
    summary="$summary
$name: $state"
}

build() {  # the package compiles its files side by side; its objects and a probe are the second library
    YOLO_CUDA=1 part build-package 280 "$PYTHON" setup.py -q build_ext --inplace
    folder=$(ls -dt build/temp*/cuda 2>/dev/null | head -n 1)
    kernels=csrc/cuda/*.cu
    if [ -f "$folder/status.o" ]; then kernels=$folder/*.o; fi
    part build-kernels 270 nvcc -std=c++17 -O3 -arch=native -Xcompiler=-fPIC,-fvisibility=hidden \
        -shared -cudart=static -o "$LIBRARY" $kernels tests/cuda/probe.cu
    [ -f yolo/_cuda.so ] || cp "$LIBRARY" yolo/_cuda.so  # enough for the benchmarks of convolutions
}
probe() {  # the emulator's idea of mma, ldmatrix and conversions, bit for bit
    YOLO_CUDA_LIBRARY=$LIBRARY part probe 120 "$PYTHON" $PYTEST tests/cuda/test_machine.py
}
tests() {
    YOLO_CUDA_LIBRARY=$LIBRARY part test 300 "$PYTHON" $PYTEST tests/cuda -m "not long"
    YOLO_CUDA_LIBRARY=$LIBRARY part test-networks 250 "$PYTHON" $PYTEST -m long \
        tests/cuda/test_plan.py tests/cuda/test_operators.py
}
sanitize() {  # a program of the kernels alone, on tiny shapes; and a race, which must be found
    program=$PWD/build/gpu_sanitize
    part build-sanitize 60 nvcc -std=c++17 -o "$program" tests/cuda/sanitize.cpp \
        "$LIBRARY" -Xlinker "-rpath=$PWD/build"
    for tool in memcheck synccheck racecheck; do
        part "$tool" 140 compute-sanitizer --tool "$tool" --error-exitcode 9 "$program" once
    done
    part race-found 60 sh -c 'compute-sanitizer --tool racecheck --error-exitcode 9 "$0" race
        test $? -eq 9' "$program"
}
conv() {
    for precision in bf16 tf32; do
        part "conv-$precision" 280 "$PYTHON" benchmarks/bench_conv.py --device cuda --batch 16 \
            --cfg cfg/yolov3.cfg --precision "$precision" --pairs 20 \
            --json "$RESULTS/conv-$precision.json"
    done
}
inference() {  # inference NAME MODE...: batch 1 and 16 beside these modes of PyTorch
    kind=$1
    shift
    for batch in 1 16; do
        part "$kind-$batch" 280 "$PYTHON" benchmarks/bench_network.py --device cuda \
            --precision bf16 --batch "$batch" --json "$RESULTS/$kind-$batch.json" \
            yolov3:416 yolov4:608 --modes "$@"
    done
}
steps() {  # steps NAME MODE...: training steps beside these modes of PyTorch
    kind=$1
    shift
    part "$kind-yolov4" 290 "$PYTHON" benchmarks/bench_train.py --cfg cfg/yolov4.cfg --size 608 \
        --batch 16 --pairs 10 --json "$RESULTS/$kind-yolov4.json" --ours eager graph --modes "$@"
    part "$kind-yolov3" 280 "$PYTHON" benchmarks/bench_train.py --cfg cfg/yolov3.cfg --size 416 \
        --batch 64 --pairs 10 --json "$RESULTS/$kind-yolov3.json" --ours eager graph --modes "$@"
}

nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv
for wanted in ${*:-$ALL}; do
    case $wanted in
    build) build ;;
    probe) probe ;;
    test) tests ;;
    sanitize) sanitize ;;
    conv) conv ;;
    network) inference network eager graph ;;
    compiled) inference compiled compiled compiled-graph ;;
    train) steps train eager graph ;;
    train-compiled) steps train-compiled compiled ;;
    *) echo "no part '$wanted'; parts are $ALL" && failed=1 ;;
    esac
done
tables=$(ls "$RESULTS"/*.json 2>/dev/null)
if [ -n "$tables" ]; then "$PYTHON" benchmarks/report.py $tables || failed=1; fi
echo "== summary$summary"
exit $failed
