# libjpeg-turbo: found, and checked to be libjpeg-turbo and not another library with the same header names.
include(CheckCXXSourceCompiles)

set(_penstock_jpeg_packages
    "  Debian:   apt-get install libjpeg62-turbo-dev\n"
    "  Ubuntu:   apt-get install libjpeg-turbo8-dev\n"
    "  Fedora:   dnf install libjpeg-turbo-devel\n"
    "  macOS:    brew install jpeg-turbo")
string(JOIN "" _penstock_jpeg_packages ${_penstock_jpeg_packages})

if(APPLE)
  list(APPEND CMAKE_PREFIX_PATH /opt/homebrew/opt/jpeg-turbo /usr/local/opt/jpeg-turbo)
endif()
find_package(JPEG)
if(NOT JPEG_FOUND)
  message(FATAL_ERROR "Expected libjpeg-turbo with its headers, found none. Install it:\n${_penstock_jpeg_packages}")
endif()

set(CMAKE_REQUIRED_LIBRARIES JPEG::JPEG)
check_cxx_source_compiles("
#include <cstddef>
#include <cstdio>
#include <jpeglib.h>
#if !defined(LIBJPEG_TURBO_VERSION) || !defined(JCS_EXTENSIONS)
#error not libjpeg-turbo
#endif
int main() { jpeg_error_mgr errors; return jpeg_std_error(&errors) == nullptr || JCS_EXT_RGB == JCS_UNKNOWN; }
" PENSTOCK_JPEG_IS_TURBO)
unset(CMAKE_REQUIRED_LIBRARIES)
if(NOT PENSTOCK_JPEG_IS_TURBO)
  message(FATAL_ERROR "Expected libjpeg-turbo, found another libjpeg at ${JPEG_LIBRARIES}; its pixels may differ from "
                      "Pillow's. Install libjpeg-turbo:\n${_penstock_jpeg_packages}")
endif()
