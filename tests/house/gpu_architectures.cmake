# cmake -P: what cmake/gpu_architectures.cmake makes of a machine's GPUs and of what nvcc knows.
cmake_minimum_required(VERSION 3.22)
include(${CMAKE_CURRENT_LIST_DIR}/../../cmake/gpu_architectures.cmake)

function(expect capabilities known wanted)
  list(TRANSFORM known PREPEND compute_)
  default_gpu_architectures(found "${known}" "${capabilities}")
  if(NOT found STREQUAL wanted)
    message(SEND_ERROR "GPUs '${capabilities}', nvcc for ${known}: found '${found}', wanted '${wanted}'")
  endif()
endfunction()

set(cuda_12_8 50 75 80 86 87 89 90 100 101 120)
set(every_kind "80-real;86-real;89-real;90a-real;100-real;80-virtual;100-virtual")
expect("9.0\n" "${cuda_12_8}" "90a-real")
expect("8.0\n8.0\n12.0\n" "${cuda_12_8}" "80-real;120-real")
expect("" "${cuda_12_8}" "${every_kind}")
expect("12.1\n" "${cuda_12_8}" "${every_kind}")  # which came with CUDA 12.9
expect("No devices were found\n" "${cuda_12_8}" "${every_kind}")
expect("" "86;89;90;100" "86-real;89-real;90a-real;100-real;100-virtual")
