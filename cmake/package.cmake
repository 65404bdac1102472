# A Debian package of what `make install` brings (`make package`); its dependencies are read off the programs.
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME eelsvae)
set(CPACK_PACKAGE_CONTACT "the eelsvae authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Finds the spectra of an EELS spectrum image that do not fit the rest")
set(CPACK_PACKAGE_DESCRIPTION
  "Learns what normal spectra of a specimen look like with a 3D convolutional variational autoencoder, or a baseline,
and says which spectra do not fit, with a threshold that needs no labels. Programs, the library libeelsvae.so with
its headers, and configurations; computes on the processor.")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
include(CPack)
