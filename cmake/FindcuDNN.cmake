# Finds cuDNN 9: in the CUDA toolkit, in the system, or in a Python site-packages folder, where the package
# nvidia-cudnn keeps it. cuDNN_ROOT names any other place.
# Defines cuDNN::cuDNN and cuDNN_VERSION.
set(cuDNN_python_folders "")
find_program(cuDNN_PYTHON python3)
mark_as_advanced(cuDNN_PYTHON)
if(cuDNN_PYTHON)
  execute_process(COMMAND ${cuDNN_PYTHON} -c "import site; print(';'.join([*site.getsitepackages(), site.getusersitepackages()]))"
                  OUTPUT_VARIABLE cuDNN_python_folders OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  list(TRANSFORM cuDNN_python_folders APPEND /nvidia/cudnn)
endif()
find_path(cuDNN_INCLUDE_DIR cudnn_backend.h HINTS ${CUDAToolkit_INCLUDE_DIRS} ${cuDNN_python_folders}
          PATH_SUFFIXES include)
find_library(cuDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${CUDAToolkit_LIBRARY_DIR} ${cuDNN_python_folders}
             PATH_SUFFIXES lib lib64)
if(cuDNN_INCLUDE_DIR)
  file(STRINGS ${cuDNN_INCLUDE_DIR}/cudnn_version.h cuDNN_lines REGEX "#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) [0-9]+")
  string(REGEX MATCHALL "[0-9]+" cuDNN_numbers "${cuDNN_lines}")
  string(REPLACE ";" "." cuDNN_VERSION "${cuDNN_numbers}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(cuDNN REQUIRED_VARS cuDNN_LIBRARY cuDNN_INCLUDE_DIR VERSION_VAR cuDNN_VERSION)
if(cuDNN_FOUND AND NOT TARGET cuDNN::cuDNN)
  add_library(cuDNN::cuDNN UNKNOWN IMPORTED)
  set_target_properties(cuDNN::cuDNN PROPERTIES IMPORTED_LOCATION ${cuDNN_LIBRARY}
                                                INTERFACE_INCLUDE_DIRECTORIES ${cuDNN_INCLUDE_DIR})
endif()
mark_as_advanced(cuDNN_INCLUDE_DIR cuDNN_LIBRARY)
