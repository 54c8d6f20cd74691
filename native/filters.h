// The filters of the resamplers, and how far each reaches.
#pragma once

#include <cmath>

#include "resample.h"

namespace penstock {

constexpr double kPi = 3.14159265358979323846;

// The filters' formulas are Pillow's, operation by operation: the order of the roundings is part of the result.
struct BoxFilter {
  static constexpr double support = 0.5;
  static double at(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }
};

struct BilinearFilter {
  static constexpr double support = 1.0;
  static double at(double x) {
    x = std::fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
  }
};

struct HammingFilter {
  static constexpr double support = 1.0;
  static double at(double x) {
    x = std::fabs(x);
    if (x == 0.0) return 1.0;
    if (x >= 1.0) return 0.0;
    x = x * kPi;
    return std::sin(x) / x * (0.54f + 0.46f * std::cos(x));
  }
};

struct BicubicFilter {
  static constexpr double support = 2.0;
  static double at(double x) {
    constexpr double a = -0.5;
    x = std::fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
  }
};

struct LanczosFilter {
  static constexpr double support = 3.0;
  static double sinc(double x) {
    if (x == 0.0) return 1.0;
    x = x * kPi;
    return std::sin(x) / x;
  }
  static double at(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }
};

inline double filter_support(Filter filter) {
  switch (filter) {
    case Filter::nearest:
      return 0.0;
    case Filter::box:
      return BoxFilter::support;
    case Filter::bilinear:
      return BilinearFilter::support;
    case Filter::hamming:
      return HammingFilter::support;
    case Filter::bicubic:
      return BicubicFilter::support;
    case Filter::lanczos:
      return LanczosFilter::support;
  }
  return 0.0;
}

}  // namespace penstock
