# Sets `variable` to the architectures to compile for: those of the GPUs of this machine, or for every kind in use
# where it has none, or one that nvcc does not know and that has to compile PTX itself.
#   known         what `nvcc --list-gpu-arch` prints: compute_80 compute_86 ...
#   capabilities  what `nvidia-smi --query-gpu=compute_cap --format=csv,noheader` prints, a line a GPU: 9.0
# CMake's own `native` is newer than the CMake that is asked for, and leaves out wgmma.
function(default_gpu_architectures variable known capabilities)
  string(REGEX MATCHALL "compute_[0-9]+" known "${known}")
  string(REGEX MATCHALL "[0-9]+\\.[0-9]" numbers "${capabilities}")
  list(TRANSFORM numbers REPLACE "\\." "")
  list(REMOVE_DUPLICATES numbers)
  set(architectures "")
  foreach(number ${numbers})
    if(NOT compute_${number} IN_LIST known)
      set(architectures "")
      break()
    endif()
    list(APPEND architectures ${number}-real)
  endforeach()
  if(NOT architectures)
    foreach(kind 80-real 86-real 89-real 90-real 100-real 80-virtual 100-virtual)
      string(REGEX REPLACE "-.*" "" number ${kind})
      if(compute_${number} IN_LIST known)
        list(APPEND architectures ${kind})
      endif()
    endforeach()
  endif()
  list(TRANSFORM architectures REPLACE "^90-" "90a-")  # wgmma and setmaxnreg
  set(${variable} "${architectures}" PARENT_SCOPE)
endfunction()
