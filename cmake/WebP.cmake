# libwebp and its demuxer, as the targets WebP::WebP and WebP::Demux. Older versions bring no CMake files of their own.
if(APPLE)
  list(APPEND CMAKE_PREFIX_PATH /opt/homebrew/opt/webp /usr/local/opt/webp)
endif()
find_path(PENSTOCK_WEBP_INCLUDE webp/demux.h)
find_library(PENSTOCK_WEBP_LIBRARY webp)
find_library(PENSTOCK_WEBP_DEMUX_LIBRARY webpdemux)
if(NOT PENSTOCK_WEBP_INCLUDE OR NOT PENSTOCK_WEBP_LIBRARY OR NOT PENSTOCK_WEBP_DEMUX_LIBRARY)
  message(FATAL_ERROR "Expected libwebp and libwebpdemux with their headers, found none. Install them:\n"
                      "  Debian, Ubuntu:   apt-get install libwebp-dev\n"
                      "  Fedora:           dnf install libwebp-devel\n"
                      "  macOS:            brew install webp")
endif()
add_library(WebP::WebP UNKNOWN IMPORTED)
set_target_properties(WebP::WebP PROPERTIES IMPORTED_LOCATION "${PENSTOCK_WEBP_LIBRARY}"
                      INTERFACE_INCLUDE_DIRECTORIES "${PENSTOCK_WEBP_INCLUDE}")
add_library(WebP::Demux UNKNOWN IMPORTED)
set_target_properties(WebP::Demux PROPERTIES IMPORTED_LOCATION "${PENSTOCK_WEBP_DEMUX_LIBRARY}"
                      INTERFACE_INCLUDE_DIRECTORIES "${PENSTOCK_WEBP_INCLUDE}" INTERFACE_LINK_LIBRARIES WebP::WebP)
