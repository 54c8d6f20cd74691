// Its referee is libjpeg-turbo's own decoder: native/tests/test_jpeg_entropy.cpp holds the two equal.
#include "jpeg_entropy.h"

#include <dlfcn.h>

#include <memory>

#include "jpeg_encode.h"

namespace penstock::codec {
namespace {

static_assert(sizeof(JCOEF) == sizeof(int16_t), "blocks are filled with 16-bit coefficients");

constexpr Size kTried = {56, 72};  // of the small picture: several MCUs each way
constexpr int kTriedQuality = 96;
constexpr size_t kLeastBytes = 4096;  // making four tables takes what reading so much gains

// How libjpeg-turbo's private structure begins.
struct EntropyDecoder {
  void (*start_pass)(j_decompress_ptr);
  boolean (*decode_mcu)(j_decompress_ptr, JBLOCKROW*);
  bool operator==(const EntropyDecoder& o) const { return start_pass == o.start_pass && decode_mcu == o.decode_mcu; }
};

EntropyDecoder& decoder_of(jpeg_decompress_struct& info) { return *reinterpret_cast<EntropyDecoder*>(info.entropy); }

// In place of the library's. `rows`: a zeroed block for each of the MCU's, or nullptr where nobody needs them.
boolean decode_mcu(j_decompress_ptr info, JBLOCKROW* rows) {
  Codec& codec = *static_cast<Codec*>(info->client_data);
  HuffmanScan& scan = codec.entropy->scan;
  int16_t* blocks[kMostBlocks];
  if (rows != nullptr) {
    for (int i = 0; i < scan.blocks_in_mcu; ++i) blocks[i] = rows[i][0];
  }
  if (!read_mcu(scan, rows == nullptr ? nullptr : blocks)) leave(codec, Stop::doubt);
  if (scan.mcus_left == 0) {  // the library reads on at the marker behind the scan
    info->src->bytes_in_buffer = static_cast<size_t>(scan.raw_end - scan.raw);
    info->src->next_input_byte = scan.raw;
  }
  return TRUE;
}

// One scan that holds all components, with nothing read of it yet.
bool plain(jpeg_decompress_struct& info) {
  if (jpeg_has_multiple_scans(&info) || info.progressive_mode || info.arith_code || info.data_precision != 8) {
    return false;
  }
  if (info.comps_in_scan != info.num_components || info.blocks_in_MCU > kMostBlocks || info.unread_marker != 0) {
    return false;
  }
  // A scan of one component has MCUs of one block, whatever its sampling: versions differ in how they skip those.
  const jpeg_component_info& first = info.comp_info[0];
  return info.num_components > 1 || (first.h_samp_factor == 1 && first.v_samp_factor == 1);
}

bool have_table(HuffmanTable& table, const JHUFF_TBL& from, bool may_make, bool dc) {
  return is_made_of(table, from.bits, from.huffval) || (may_make && make_table(table, from.bits, from.huffval, dc));
}

bool prepare(jpeg_decompress_struct& info, EntropyScratch& scratch) {
  const bool may_make = info.src->bytes_in_buffer >= scratch.least_bytes;
  for (int c = 0; c < info.comps_in_scan; ++c) {
    const jpeg_component_info& component = *info.cur_comp_info[c];
    const JHUFF_TBL* dc = info.dc_huff_tbl_ptrs[component.dc_tbl_no];
    const JHUFF_TBL* ac = info.ac_huff_tbl_ptrs[component.ac_tbl_no];
    if (dc == nullptr || ac == nullptr) return false;
    if (!have_table(scratch.dc[component.dc_tbl_no], *dc, may_make, true)) return false;
    if (!have_table(scratch.ac[component.ac_tbl_no], *ac, may_make, false)) return false;
  }
  HuffmanScan& scan = scratch.scan;
  for (int i = 0; i < info.blocks_in_MCU; ++i) {
    const int c = info.MCU_membership[i];
    const jpeg_component_info& component = *info.cur_comp_info[c];
    scan.blocks[i] = {&scratch.dc[component.dc_tbl_no], &scratch.ac[component.ac_tbl_no], c};
  }
  scan.blocks_in_mcu = info.blocks_in_MCU;
  scan.mcus_left = uint64_t{info.MCUs_per_row} * info.MCU_rows_in_scan;
  scan.restart_interval = info.restart_interval;
  begin_scan(scan, info.src->next_input_byte, info.src->next_input_byte + info.src->bytes_in_buffer);
  return true;
}

void put_in_place(Codec& codec) {
  if (!plain(codec.info) || !prepare(codec.info, *codec.entropy)) return;
  decoder_of(codec.info).decode_mcu = decode_mcu;
  codec.replaced = true;
}

// Where the code of the object lies that holds this function; nullptr: nowhere.
template <typename Function>
const void* object_of(Function* function) {
  Dl_info info;
  return function == nullptr || dladdr(reinterpret_cast<const void*>(function), &info) == 0 ? nullptr : info.dli_fbase;
}

// Decodes the small picture with ours; `found` is what the library had in its place.
bool try_on(const std::vector<uint8_t>& encoded, std::vector<uint8_t>& pixels, EntropyDecoder& found) {
  Header header;
  header.stored_height = kTried.height;
  header.stored_width = kTried.width;
  header.components = kChannels;
  const std::unique_ptr<EntropyScratch> scratch(new EntropyScratch());
  const std::atomic<bool> cancel{false};
  Codec codec;
  CodecOwner owner(codec);
  if (!open(codec, encoded.data(), encoded.size(), header, Limits(), cancel)) return false;
  codec.info.out_color_space = JCS_RGB;
  if (!start(codec)) return false;
  found = decoder_of(codec.info);
  const void* library = object_of(&jpeg_start_decompress);
  if (library == nullptr || found.start_pass == nullptr || found.decode_mcu == nullptr) return false;
  if (object_of(found.start_pass) != library || object_of(found.decode_mcu) != library) return false;
  codec.entropy = scratch.get();
  put_in_place(codec);
  const size_t stride = static_cast<size_t>(kTried.width) * kChannels;
  return codec.replaced && read_rows(codec, pixels.data(), stride, kTried.height) && finish(codec) &&
         scratch->scan.mcus_left == 0;
}

struct Known {
  bool sound = false;
  EntropyDecoder decoder = {};  // the library's, for plain files
};

Known find_out() {
  const size_t stride = static_cast<size_t>(kTried.width) * kChannels;
  std::vector<uint8_t> picture(stride * kTried.height), expected(picture.size()), pixels(picture.size()), encoded;
  uint32_t noise = 1;
  for (size_t i = 0; i < picture.size(); ++i) {
    noise = noise * 1664525u + 1013904223u;
    picture[i] = static_cast<uint8_t>((i / 7 + (noise >> (i % 1000 < 500 ? 29 : 26))) & 255);
  }
  const ptrdiff_t step = static_cast<ptrdiff_t>(stride);
  Known known;
  known.sound = jpeg_roundtrip(picture.data(), step, kTried, kTriedQuality, expected.data(), step, encoded) &&
                try_on(encoded, pixels, known.decoder) && pixels == expected;
  return known;
}

// Once a process. Two threads may find it out at the same time: a lock would stay locked in a child forked meanwhile.
const Known& known() {
  static std::atomic<const Known*> once{nullptr};
  if (const Known* found = once.load(std::memory_order_acquire)) return *found;
  std::unique_ptr<const Known> made(new Known(find_out()));
  const Known* found = nullptr;
  if (once.compare_exchange_strong(found, made.get(), std::memory_order_acq_rel)) return *made.release();
  return *found;
}

}  // namespace

EntropyScratch* entropy_scratch(DecodeScratch& scratch) {
  if (!scratch.own_entropy || !known().sound) return nullptr;
  if (!scratch.entropy) {
    scratch.entropy = std::make_shared<EntropyScratch>();
    scratch.entropy->least_bytes = kLeastBytes;
  }
  return scratch.entropy.get();
}

void replace_entropy_decoder(Codec& codec) {
  // Another decoder than for the small picture is one of another kind.
  if (decoder_of(codec.info) == known().decoder) put_in_place(codec);
}

}  // namespace penstock::codec
