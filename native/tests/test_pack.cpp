// The last link: every dtype, layout and patch grid against arithmetic in double precision.
#include <cmath>
#include <limits>

#include "../transform.h"
#include "check.h"
#include "slow_image.h"

using namespace penstock_test;

namespace {

struct Narrow {
  int fraction_bits, low_exponent, infinity;  // low_exponent: of the smallest normal number
  uint16_t (*narrow)(float);
};
const Narrow kHalf = {10, -14, 0x7c00, half_of};
const Narrow kBfloat16 = {7, -126, 0x7f80, bfloat16_of};

double value_of(const Narrow& kind, int bits) {
  const int magnitude = bits & 0x7fff, exponent = magnitude >> kind.fraction_bits;
  const int fraction = magnitude & ((1 << kind.fraction_bits) - 1);
  const int whole = exponent == 0 ? fraction : fraction + (1 << kind.fraction_bits);
  const double value = std::ldexp(whole, kind.low_exponent - kind.fraction_bits + std::max(exponent - 1, 0));
  return (bits & 0x8000) != 0 ? -value : value;
}

// The nearest of the 65536, ties to the even one, found in double precision.
uint16_t slowly(const Narrow& kind, float given) {
  const double value = std::fabs(static_cast<double>(given));
  const int sign = std::signbit(given) ? 0x8000 : 0;
  if (std::isinf(given)) return static_cast<uint16_t>(sign | kind.infinity);
  int exponent = kind.low_exponent;
  if (value > 0) exponent = std::max(std::ilogb(value), kind.low_exponent);
  const double steps = std::nearbyint(std::ldexp(value, kind.fraction_bits - exponent));  // ties to even
  // A value that rounds up to the next power of two carries into the exponent.
  const int magnitude = static_cast<int>(steps) + ((exponent - kind.low_exponent) << kind.fraction_bits);
  return static_cast<uint16_t>(sign | std::min(magnitude, kind.infinity));
}

// Each of the 65536 results, the middle between it and the next one, and the floats on both sides of those.
void test_narrow(const Narrow& kind) {
  const float infinity = std::numeric_limits<float>::infinity();
  int wrong = 0, results = 0;
  for (int bits = 0; bits < 65536; ++bits) {
    const int magnitude = bits & 0x7fff;
    if (magnitude > kind.infinity) continue;  // not numbers: below
    const double own =
        magnitude == kind.infinity ? std::copysign(infinity, (bits & 0x8000) != 0 ? -1.0 : 1.0) : value_of(kind, bits);
    wrong += kind.narrow(static_cast<float>(own)) != bits;
    ++results;
    if (magnitude == kind.infinity) continue;
    const float middle = static_cast<float>((own + value_of(kind, bits + 1)) / 2);  // past the largest: where 2^n is
    for (const float centre : {static_cast<float>(own), middle}) {
      for (const float near : {std::nextafter(centre, -infinity), centre, std::nextafter(centre, infinity)}) {
        wrong += kind.narrow(near) != slowly(kind, near);
      }
    }
  }
  CHECK(wrong == 0);
  CHECK(results == 2 * (kind.infinity + 1));
  for (const float nan : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::signaling_NaN()}) {
    for (const float given : {nan, -nan}) {
      const int bits = kind.narrow(given) & 0x7fff;
      CHECK(bits > kind.infinity);
    }
  }
  CHECK(kind.narrow(-0.0f) == 0x8000);
  CHECK(kind.narrow(std::numeric_limits<float>::max()) == kind.infinity);
  CHECK(kind.narrow(std::numeric_limits<float>::denorm_min()) ==
        slowly(kind, std::numeric_limits<float>::denorm_min()));
}

double sample_of(const Image& image, int y, int x, int c) {
  const uint8_t* p = image.at(y, x) + static_cast<size_t>(c) * sample_bytes(image.format.sample);
  if (image.format.sample == Sample::uint8) return *p;
  if (image.format.sample == Sample::uint16) return sample16(p);
  float value;
  std::memcpy(&value, p, sizeof value);
  return static_cast<double>(value);
}

// The bytes of one sample in the slot. Each operation in double precision and rounded to float32 is that of float32.
void store_slowly(double sample, Sample from, int c, const Output& output, uint8_t* out) {
  float value = static_cast<float>(sample);
  if (output.normalizer != nullptr) {
    const float unit = static_cast<float>(sample / (from == Sample::uint16 ? 65535.0 : 255.0));
    const float centred = static_cast<float>(double{unit} - double{output.normalizer->mean[c]});
    value = static_cast<float>(double{centred} / double{output.normalizer->std[c]});
  }
  const uint8_t byte = static_cast<uint8_t>(static_cast<int>(output.dtype == Dtype::uint8 ? sample : 0));
  uint16_t word = static_cast<uint16_t>(output.dtype == Dtype::uint16 ? sample : 0);
  if (output.dtype == Dtype::float16) word = slowly(kHalf, value);
  if (output.dtype == Dtype::bfloat16) word = slowly(kBfloat16, value);
  const size_t bytes = element_bytes(output.dtype);
  std::memcpy(out,
              bytes == 1   ? static_cast<const void*>(&byte)
              : bytes == 2 ? static_cast<const void*>(&word)
                           : &value,
              bytes);
}

size_t place_of(const Image& image, const Output& output, int y, int x, int c) {
  const size_t channels = static_cast<size_t>(image.format.channels), column = static_cast<size_t>(x);
  const size_t row = static_cast<size_t>(y), width = static_cast<size_t>(image.width), channel = static_cast<size_t>(c);
  if (output.layout == Layout::nhwc) return (row * width + column) * channels + channel;
  if (output.layout == Layout::nchw) return (channel * static_cast<size_t>(image.height) + row) * width + column;
  const size_t side = static_cast<size_t>(output.patch);
  const size_t patch = row / side * (width / side) + column / side;
  return ((patch * side + row % side) * side + column % side) * channels + channel;
}

std::vector<uint8_t> packed_slowly(const Image& image, const Output& output) {
  std::vector<uint8_t> slot(slot_bytes(image.size(), image.format.channels, output));
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < image.format.channels; ++c) {
        store_slowly(sample_of(image, y, x, c), image.format.sample, c, output,
                     slot.data() + place_of(image, output, y, x, c) * element_bytes(output.dtype));
      }
    }
  }
  return slot;
}

Image values(int height, int width, Format format, std::mt19937& random) {
  Image image = noise(height, width, format, random);
  if (format.sample != Sample::float32) return image;
  for (size_t i = 0; i < image.data.size(); i += sizeof(float)) {
    const float value = static_cast<float>(random() % 300000) / 1000.0f - 20.0f;  // a resize may overshoot
    std::memcpy(&image.data[i], &value, sizeof value);
  }
  return image;
}

// Rows that come as planes make the same slot.
void test_planes(const Image& stored, const Incoming& incoming, const Output& output,
                 const std::vector<uint8_t>& expected, TransformScratch& scratch) {
  CHECK(output.layout == Layout::nchw && stored.format == Format{});
  const size_t width = static_cast<size_t>(stored.width), pixels = width * static_cast<size_t>(stored.height);
  std::vector<uint8_t> split(pixels * 3), slot(expected.size());
  for (size_t i = 0; i < pixels; ++i) {
    for (size_t c = 0; c < 3; ++c) split[c * pixels + i] = stored.data[i * 3 + c];
  }
  const uint8_t* const planes[] = {split.data(), split.data() + pixels, split.data() + 2 * pixels};
  Chain chain(incoming, {}, output, slot.data(), scratch);
  chain.push_planes(planes, stored.width, stored.height);
  chain.finish();
  CHECK(slot == expected);
}

void test_every_dtype(std::mt19937& random, TransformScratch& scratch) {
  const float mean[] = {0.485f, 0.456f, 0.406f, 0.5f}, deviation[] = {0.229f, 0.224f, 0.225f, 0.25f};
  for (const int channels : {1, 3, 4}) {
    for (const Sample sample : {Sample::uint8, Sample::uint16, Sample::float32}) {
      for (const Dtype dtype : {Dtype::uint8, Dtype::uint16, Dtype::float16, Dtype::bfloat16, Dtype::float32}) {
        const bool floating = dtype == Dtype::float16 || dtype == Dtype::bfloat16 || dtype == Dtype::float32;
        const bool same = element_bytes(dtype) == sample_bytes(sample);
        if (!floating && !(same && sample != Sample::float32)) continue;  // no line asks for it
        for (const bool normalized : {false, true}) {
          if (normalized && !floating) continue;
          for (const Layout layout : {Layout::nhwc, Layout::nchw, Layout::patches}) {
            Output output;
            output.dtype = dtype;
            output.layout = layout;
            if (normalized) output.normalizer = std::make_shared<Normalizer>(mean, deviation, channels);
            const int rows = 1 + static_cast<int>(random() % 4), columns = 1 + static_cast<int>(random() % 4);
            output.patch = layout == Layout::patches ? 1 + static_cast<int>(random() % 9) : 0;
            output.max_patches = rows * columns + static_cast<int>(random() % 3);
            const int side = layout == Layout::patches ? output.patch : 1 + static_cast<int>(random() % 20);
            const Image image = values(rows * side, columns * side, {channels, sample}, random);
            const std::vector<uint8_t> expected = packed_slowly(image, output);
            std::vector<uint8_t> slot(expected.size());
            Incoming incoming;
            incoming.stored = image.size();
            incoming.pushed = image.format;
            incoming.orientation = 1 + static_cast<int>(random() % 4);
            // Stored so that it is `image` once it is upright; these orientations undo themselves.
            const Image stored = upright(image, incoming.orientation);
            Chain chain(incoming, {}, output, slot.data(), scratch);
            for (int y = 0; y < stored.height; ++y) chain.push(stored.at(y, 0), stored.stride(), 1);
            chain.finish();
            CHECK(slot == expected);
            if (chain.takes_planes()) test_planes(stored, incoming, output, expected, scratch);
          }
        }
      }
    }
  }
}

}  // namespace

int main() {
  std::mt19937 random(11);
  TransformScratch scratch;
  test_narrow(kHalf);
  test_narrow(kBfloat16);
  for (int round = 0; round < 20; ++round) test_every_dtype(random, scratch);
  return penstock_test::report("test_pack");
}
