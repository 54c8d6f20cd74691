// Our Huffman decoder against libjpeg-turbo's own: the same coefficients, and for damaged files the same outcome, words
// and rows as where the library decodes alone.
#include <cstring>

#include "../jpeg_entropy.h"
#include "../jpeg_fast.h"
#include "check.h"
#include "jpeg_maker.h"

using namespace penstock;
using penstock_test::Bytes;
using penstock_test::JpegOptions;
using penstock_test::make_jpeg;

namespace {

const std::atomic<bool> kNoCancel{false};

uint32_t noise = 7;
size_t random_below(size_t limit) {
  noise = noise * 1664525u + 1013904223u;
  return static_cast<size_t>((uint64_t{noise} * limit) >> 32);
}

bool header_of(const Bytes& bytes, Header& header) {
  Problem problem;
  return inspect(bytes.data(), bytes.size(), Limits(), header, problem) && header.backend == Backend::jpeg &&
         int64_t{header.stored_height} * header.stored_width <= 1000000;
}

// What the library makes of the file, block by block.
struct Coefficients {
  explicit Coefficients(const Bytes& bytes) {
    info.err = jpeg_std_error(&error);
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, bytes.data(), static_cast<unsigned long>(bytes.size()));
    jpeg_read_header(&info, TRUE);
    arrays = jpeg_read_coefficients(&info);
  }
  Coefficients(const Coefficients&) = delete;
  Coefficients& operator=(const Coefficients&) = delete;
  ~Coefficients() { jpeg_destroy_decompress(&info); }
  const JCOEF* block(int component, JDIMENSION y, JDIMENSION x) {
    return (*info.mem->access_virt_barray)(reinterpret_cast<j_common_ptr>(&info), arrays[component], y, 1, FALSE)[0][x];
  }
  jpeg_decompress_struct info;
  jpeg_error_mgr error;
  jvirt_barray_ptr* arrays;
};

// Reads all MCUs with ours; false: it was not put in place. `nowhere`: every third MCU is skipped over.
bool same_coefficients(const Bytes& bytes, DecodeScratch& scratch, bool nowhere) {
  Coefficients expected(bytes);
  Header header;
  CHECK(header_of(bytes, header));
  codec::Codec codec;
  codec::CodecOwner owner(codec);
  codec.entropy = codec::entropy_scratch(scratch);
  CHECK(codec.entropy != nullptr);
  if (codec.entropy == nullptr) return false;
  codec.entropy->least_bytes = 0;
  CHECK(codec::open(codec, bytes.data(), bytes.size(), header, Limits(), kNoCancel) && codec::start(codec));
  if (!codec.replaced) return false;
  codec::HuffmanScan& scan = codec.entropy->scan;
  bool same = true;
  size_t number = 0;
  for (JDIMENSION row = 0; row < codec.info.MCU_rows_in_scan; ++row) {
    for (JDIMENSION column = 0; column < codec.info.MCUs_per_row; ++column) {
      int16_t blocks[codec::kMostBlocks][DCTSIZE2] = {};
      int16_t* pointers[codec::kMostBlocks];
      for (int i = 0; i < codec::kMostBlocks; ++i) pointers[i] = blocks[i];
      const bool skipped = nowhere && ++number % 3 == 0;
      if (!codec::read_mcu(scan, skipped ? nullptr : pointers)) return false;
      const int16_t* block = blocks[0];
      for (int c = 0; c < codec.info.comps_in_scan && !skipped; ++c) {
        const jpeg_component_info& component = *codec.info.cur_comp_info[c];
        for (int i = 0; i < component.MCU_blocks; ++i, block += DCTSIZE2) {
          const JDIMENSION y =
              row * static_cast<JDIMENSION>(component.MCU_height) + static_cast<JDIMENSION>(i / component.MCU_width);
          const JDIMENSION x =
              column * static_cast<JDIMENSION>(component.MCU_width) + static_cast<JDIMENSION>(i % component.MCU_width);
          if (y >= component.height_in_blocks || x >= component.width_in_blocks) continue;
          same &= std::memcmp(block, expected.block(component.component_index, y, x), DCTSIZE2 * sizeof(JCOEF)) == 0;
        }
      }
    }
  }
  return same && scan.mcus_left == 0 && scan.raw[0] == 0xFF && scan.raw[1] == JPEG_EOI;
}

// Other tables than the standard ones.
Bytes optimised(const Bytes& bytes, unsigned restart_interval) {
  Coefficients from(bytes);
  jpeg_compress_struct to;
  jpeg_error_mgr error;
  to.err = jpeg_std_error(&error);
  jpeg_create_compress(&to);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&to, &memory, &size);
  jpeg_copy_critical_parameters(&from.info, &to);
  to.optimize_coding = TRUE;
  to.restart_interval = restart_interval;
  jpeg_write_coefficients(&to, from.arrays);
  jpeg_finish_compress(&to);
  jpeg_destroy_compress(&to);
  Bytes result(memory, memory + size);
  std::free(memory);
  return result;
}

void gives_the_same_coefficients() {
  DecodeScratch scratch;
  const int samplings[][2] = {{1, 1}, {2, 1}, {2, 2}, {4, 1}, {1, 2}, {3, 1}, {4, 2}};
  const int sizes[][2] = {{1, 1}, {17, 33}, {67, 61}, {8, 700}, {200, 301}};
  for (const auto& size : sizes) {
    for (const auto& sampling : samplings) {
      for (int components : {1, 3, 4}) {
        JpegOptions options;
        options.components = components;
        options.horizontal = sampling[0];
        options.vertical = sampling[1];
        options.quality = 1 + static_cast<int>(random_below(100));
        const Bytes plain = make_jpeg(size[0], size[1], options);
        CHECK(components == 4 || same_coefficients(plain, scratch, false));  // CMYK is Pillow's
        if (components == 4) continue;
        CHECK(same_coefficients(plain, scratch, true));
        CHECK(same_coefficients(optimised(plain, 0), scratch, false));
        for (unsigned interval : {1u, 2u, 7u, 65535u}) {
          CHECK(same_coefficients(optimised(plain, interval), scratch, false));
        }
        options.restart_rows = 1;
        CHECK(same_coefficients(make_jpeg(size[0], size[1], options), scratch, false));
      }
    }
  }
  for (int quality = 1; quality <= 100; ++quality) {
    JpegOptions options;
    options.quality = quality;
    const Bytes bytes = make_jpeg(72, 88, options);
    CHECK(same_coefficients(bytes, scratch, false));
    CHECK(same_coefficients(optimised(bytes, 0), scratch, false));
  }
}

// Whether ours reads the file to its end.
bool decodes_whole(const Bytes& bytes, DecodeScratch& scratch) {
  Header header;
  CHECK(header_of(bytes, header));
  codec::Codec codec;
  codec::CodecOwner owner(codec);
  codec.entropy = codec::entropy_scratch(scratch);
  CHECK(codec::open(codec, bytes.data(), bytes.size(), header, Limits(), kNoCancel) && codec::start(codec));
  const int height = header.stored_height;
  Bytes pixels(static_cast<size_t>(height) * static_cast<size_t>(header.stored_width) * 3);
  return codec.replaced &&
         codec::read_rows(codec, pixels.data(), pixels.size() / static_cast<size_t>(height), height) &&
         codec::finish(codec);
}

void leaves_other_files_alone() {
  DecodeScratch scratch;
  CHECK(!decodes_whole(make_jpeg(16, 16), scratch));  // too small to make tables for
  CHECK(decodes_whole(make_jpeg(200, 200), scratch));
  CHECK(decodes_whole(make_jpeg(16, 16), scratch));  // they are there
  Bytes filled = make_jpeg(200, 200);
  filled.insert(filled.end() - 2, 3, 0xFF);
  CHECK(decodes_whole(filled, scratch));
  filled.insert(filled.end() - 2, 0);
  CHECK(!decodes_whole(filled, scratch));
  JpegOptions options;
  options.progressive = true;
  CHECK(!same_coefficients(make_jpeg(40, 40, options), scratch, false));
  options.progressive = false;
  options.separate_scans = true;
  CHECK(!same_coefficients(make_jpeg(40, 40, options), scratch, false));
  scratch.own_entropy = false;
  CHECK(codec::entropy_scratch(scratch) == nullptr);
}

struct Collect final : RowSink {
  size_t row_bytes = 0;
  Region asked;
  Bytes pixels;
  Region wanted() const override { return asked; }
  void expect(const Region& arriving) override {
    pixels.push_back(static_cast<uint8_t>(arriving.top));
    row_bytes = static_cast<size_t>(arriving.width) * kChannels;
  }
  void push(const uint8_t* rows, ptrdiff_t stride, int count) override {
    for (int i = 0; i < count; ++i) pixels.insert(pixels.end(), rows + i * stride, rows + i * stride + row_bytes);
  }
};

enum class Way { whole, part, fast };

DecodeResult decode(const Bytes& bytes, const Header& header, Way way, DecodeScratch& scratch, Bytes& pixels) {
  std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);  // so that the sanitizer sees one byte too many
  std::copy(bytes.begin(), bytes.end(), exact.get());
  Collect sink;
  sink.row_bytes = static_cast<size_t>(header.stored_width) * kChannels;
  DecodeResult result;
  if (way == Way::part) sink.asked = {header.stored_height / 2, header.stored_width / 3, 9, 10};
  if (way == Way::fast) {
    Step step;
    step.kind = Step::Kind::resize;
    step.height = header.stored_height / 2;
    step.width = header.stored_width / 2;
    step.box_bottom = static_cast<float>(header.stored_height);
    step.box_right = static_cast<float>(header.stored_width);
    const FastPlan plan = plan_fast(header, {step});
    if (!plan.possible) return result;
    sink.row_bytes = static_cast<size_t>(plan.size.width) * kChannels;
    TransformScratch transform;
    result = decode_jpeg_fast(exact.get(), bytes.size(), header, plan, Limits(), scratch, transform, kNoCancel, sink);
  } else {
    result = decode_jpeg(exact.get(), bytes.size(), header, {}, Limits(), scratch, kNoCancel, sink);
  }
  pixels = std::move(sink.pixels);
  return result;
}

// Both decoders on one file; counts the files that are clean.
void compare(const Bytes& bytes, DecodeScratch& ours, DecodeScratch& librarys, size_t& clean) {
  Header header;
  if (!header_of(bytes, header)) return;
  for (Way way : {Way::whole, Way::part, Way::fast}) {
    Bytes mine, theirs;
    const DecodeResult with = decode(bytes, header, way, ours, mine);
    const DecodeResult without = decode(bytes, header, way, librarys, theirs);
    CHECK(with.outcome == without.outcome && with.sentence == without.sentence && with.warned == without.warned);
    // Where bytes run out, the library wants some before it needs them, and stops earlier.
    const size_t common = with.outcome == DecodeOutcome::clean ? mine.size() : std::min(mine.size(), theirs.size());
    CHECK(theirs.size() >= common &&
          std::equal(mine.begin(), mine.begin() + static_cast<ptrdiff_t>(common), theirs.begin()));
    clean += with.outcome == DecodeOutcome::clean ? 1 : 0;
  }
}

Bytes damaged(Bytes bytes) {
  const size_t most = 1 + random_below(3);
  for (size_t i = 0; i < most; ++i) {
    // Mostly in the data, now and then in the tables before it.
    const size_t from = random_below(5) == 0 ? 2 : std::min<size_t>(600, bytes.size() / 2);
    const size_t at = from + random_below(bytes.size() - from);
    const auto place = bytes.begin() + static_cast<ptrdiff_t>(at);
    switch (random_below(8)) {
      case 0:
        *place = static_cast<uint8_t>(random_below(256));
        break;
      case 1:
        bytes.insert(place, static_cast<uint8_t>(random_below(2) * 255));
        break;
      case 2:
        bytes.erase(place);
        break;
      case 3:
        bytes.resize(std::max<size_t>(at, 64));
        break;
      case 4: {
        const uint8_t marker[] = {0xFF, static_cast<uint8_t>(0xD0 + random_below(10))};
        bytes.insert(place, marker, marker + 2);
        break;
      }
      case 5:
        bytes.insert(bytes.end() - 2, static_cast<uint8_t>(random_below(2) * 255));  // before the end marker
        break;
      default:
        *place = static_cast<uint8_t>(*place ^ (1u << random_below(8)));
    }
  }
  return bytes;
}

void agrees_on_damaged_files() {
  DecodeScratch ours, librarys;
  librarys.own_entropy = false;
  CHECK(codec::entropy_scratch(ours) != nullptr);
  ours.entropy->least_bytes = 0;
  size_t clean = 0, files = 0;
  const int samplings[][2] = {{1, 1}, {2, 1}, {2, 2}, {1, 2}};
  for (int round = 0; round < 48; ++round) {
    JpegOptions options;
    options.horizontal = samplings[round % 4][0];
    options.vertical = samplings[round % 4][1];
    options.components = round % 8 == 7 ? 1 : 3;
    options.quality = 20 + static_cast<int>(random_below(81));
    options.restart_rows = round % 3 == 0 ? 1 : 0;
    Bytes whole = make_jpeg(40 + static_cast<int>(random_below(60)), 40 + static_cast<int>(random_below(60)), options);
    if (round % 5 == 0) whole = optimised(whole, static_cast<unsigned>(random_below(6)));
    compare(whole, ours, librarys, clean);
    CHECK(clean == 3);
    for (int i = 0; i < 120; ++i, ++files) compare(damaged(whole), ours, librarys, clean);
    clean = 0;
  }
  std::printf("%zu damaged files\n", files);
}

}  // namespace

int main() {
  gives_the_same_coefficients();
  leaves_other_files_alone();
  agrees_on_damaged_files();
  return penstock_test::report("test_jpeg_entropy");
}
