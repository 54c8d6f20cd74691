# libpng and zlib, which it stands on: inflating and undoing the filters of PNG rows.
find_package(PNG 1.6)
find_package(ZLIB)
if(NOT PNG_FOUND OR NOT ZLIB_FOUND)
  message(FATAL_ERROR "Expected libpng 1.6 and zlib with their headers, found none. Install them:\n"
                      "  Debian, Ubuntu:   apt-get install libpng-dev\n"
                      "  Fedora:           dnf install libpng-devel\n"
                      "  macOS:            brew install libpng")
endif()
