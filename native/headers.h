// Sizes of many files by their headers alone, on a few threads.
#pragma once

#include <string>
#include <vector>

#include "types.h"

namespace penstock {

// The upright size of each file; {0, 0} where only Pillow can tell, or the file cannot be read.
std::vector<Size> upright_sizes(const std::vector<std::string>& paths, int threads);

}  // namespace penstock
