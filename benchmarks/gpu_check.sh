#!/bin/sh
# Everything that wants a GPU, part by part; a part goes on where the one before failed.
#   sh benchmarks/gpu_check.sh                    all parts
#   sh benchmarks/gpu_check.sh build test         some of: build probe test sanitize bench
# PYTHON names the interpreter with torch; RESULTS the folder for logs (default build/gpu).
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python}
RESULTS=${RESULTS:-build/gpu}
LIBRARY=$PWD/$RESULTS/kernels.so
mkdir -p "$RESULTS"
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
            --error-exitcode 1 "$PYTHON" -m pytest tests/cuda/test_conv.py -k "implicit and shape0"
    done
}
bench() {
    for precision in bf16 tf32; do
        part "bench-$precision" 280 "$PYTHON" benchmarks/bench_cuda.py --precision "$precision" \
            --json "$RESULTS/bench-$precision.json"
        cat "$RESULTS/bench-$precision.log"
    done
}

nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv
for wanted in ${*:-build probe test sanitize bench}; do
    case $wanted in
    build) build ;;
    probe) probe ;;
    test) tests ;;
    sanitize) sanitize ;;
    bench) bench ;;
    *) echo "no part '$wanted'; parts are build probe test sanitize bench" && failed=1 ;;
    esac
done
echo "== summary$summary"
exit $failed
