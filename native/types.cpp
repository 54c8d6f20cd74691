#include "types.h"

namespace penstock {

Affine compose(const Affine& first, const Affine& then) {
  const double* f = first.m;
  const double* t = then.m;
  Affine out;
  out.m[0] = t[0] * f[0] + t[1] * f[3];
  out.m[1] = t[0] * f[1] + t[1] * f[4];
  out.m[2] = t[0] * f[2] + t[1] * f[5] + t[2];
  out.m[3] = t[3] * f[0] + t[4] * f[3];
  out.m[4] = t[3] * f[1] + t[4] * f[4];
  out.m[5] = t[3] * f[2] + t[4] * f[5] + t[5];
  return out;
}

}  // namespace penstock
