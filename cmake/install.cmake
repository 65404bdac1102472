# What `make install` brings: programs, configurations, the library for other programs with its headers and a file for
# pkg-config, and the libraries in C++ with their headers and a CMake package.
# Headers lie in a folder of their own, include/eelsvae, because their paths begin with kernels/, engine/ and io/.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
if(EELSVAE_APPS)
  install(TARGETS ${EELSVAE_APPS} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(TARGET eelsvae-hdf5-reader)  # which no user starts
  install(TARGETS eelsvae-hdf5-reader RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/eelsvae)
endif()
# The client of eelsvae-serve, which lies beside whatever script uses it.
install(FILES python/eelsvae_client.py DESTINATION ${CMAKE_INSTALL_DATADIR}/eelsvae)
install(DIRECTORY configs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/eelsvae/configs)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/eelsvae)
set(header_folder ${CMAKE_INSTALL_INCLUDEDIR}/eelsvae)
set(libraries kernels engine files model formats reports)
foreach(name ${libraries})
  set_target_properties(eelsvae_${name} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(eelsvae_${name} PUBLIC cxx_std_20)
  install(TARGETS eelsvae_${name} EXPORT eelsvae ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
          INCLUDES DESTINATION ${header_folder})
endforeach()
install(EXPORT eelsvae NAMESPACE eelsvae:: DESTINATION ${package_folder})
# The shared library needs none of the others, nor what these were built with.
# Where it finds NVIDIA's libraries, it says itself: who links it does not know of them.
set_target_properties(eelsvae_c PROPERTIES EXPORT_NAME c INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS eelsvae_c EXPORT eelsvae_c LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT eelsvae_c NAMESPACE eelsvae:: DESTINATION ${package_folder})
install(DIRECTORY include/eelsvae/ DESTINATION ${header_folder})
file(GLOB kernel_headers ${PROJECT_SOURCE_DIR}/kernels/*.h)  # not those of the backends
install(FILES ${kernel_headers} DESTINATION ${header_folder}/kernels)
# Not those that need another library's headers: no other header includes them.
foreach(rooms engine io/files io/config io/model io/formats io/reports)
  install(DIRECTORY ${rooms}/ DESTINATION ${header_folder}/${rooms} FILES_MATCHING PATTERN "*.h"
          PATTERN report_page EXCLUDE PATTERN leading_eigenvectors.h EXCLUDE
          PATTERN hdf5_positions.h EXCLUDE)
endforeach()

# For who builds without CMake. Paths are relative to the file, so that the folder may be moved.
file(RELATIVE_PATH prefix_from_pkgconfig ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/eelsvae.pc.in generated/eelsvae.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/generated/eelsvae.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# What the libraries were built with has to be found again by who links them.
set(EELSVAE_NEEDS "OpenMP" "nlohmann_json 3.10")
if(TARGET eelsvae_cuda)
  list(APPEND EELSVAE_NEEDS "CUDAToolkit" "cuDNN")
endif()
if(TARGET eelsvae_emulated)
  list(APPEND EELSVAE_NEEDS "Boost COMPONENTS context")
endif()
list(TRANSFORM EELSVAE_NEEDS PREPEND "find_dependency(")
list(TRANSFORM EELSVAE_NEEDS APPEND ")")
list(JOIN EELSVAE_NEEDS "\n" EELSVAE_NEEDS)
configure_package_config_file(cmake/eelsvaeConfig.cmake.in generated/eelsvaeConfig.cmake
                              INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(generated/eelsvaeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/generated/eelsvaeConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/generated/eelsvaeConfigVersion.cmake cmake/Findlibzip.cmake cmake/FindcuDNN.cmake
        DESTINATION ${package_folder})
