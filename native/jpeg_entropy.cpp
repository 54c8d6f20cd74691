#include "jpeg_entropy.h"

namespace penstock::codec {
namespace {

struct EntropyDecoder {
  void (*start_pass)(j_decompress_ptr);
  boolean (*decode_mcu)(j_decompress_ptr, JBLOCKROW*);
};

boolean decode_mcu(j_decompress_ptr info, JBLOCKROW* rows) {
  Codec& codec = *static_cast<Codec*>(info->client_data);
  HuffmanScan& scan = codec.entropy->scan;
  int16_t* blocks[kMostBlocks];
  if (rows != nullptr) {
    for (int i = 0; i < scan.blocks_in_mcu; ++i) blocks[i] = rows[i][0];
  }
  if (!read_mcu(scan, rows == nullptr ? nullptr : blocks)) leave(codec, Stop::doubt);
  if (scan.mcus_left == 0) {
    info->src->bytes_in_buffer = static_cast<size_t>(scan.raw_end - scan.raw);
    info->src->next_input_byte = scan.raw;
  }
  return TRUE;
}

}  // namespace

void replace_entropy_decoder(Codec& codec) {
  jpeg_decompress_struct& info = codec.info;
  if (jpeg_has_multiple_scans(&info) || info.progressive_mode || info.arith_code || info.data_precision != 8) return;
  if (info.comps_in_scan != info.num_components || info.blocks_in_MCU > kMostBlocks || info.unread_marker != 0) return;
  if (info.num_components == 1 && (info.comp_info[0].h_samp_factor != 1 || info.comp_info[0].v_samp_factor != 1)) return;
  EntropyScratch& scratch = *codec.entropy;
  for (int c = 0; c < info.comps_in_scan; ++c) {
    const jpeg_component_info& component = *info.cur_comp_info[c];
    const JHUFF_TBL* dc = info.dc_huff_tbl_ptrs[component.dc_tbl_no];
    const JHUFF_TBL* ac = info.ac_huff_tbl_ptrs[component.ac_tbl_no];
    if (dc == nullptr || ac == nullptr) return;
    if (!make_table(scratch.dc[component.dc_tbl_no], dc->bits, dc->huffval, true)) return;
    if (!make_table(scratch.ac[component.ac_tbl_no], ac->bits, ac->huffval, false)) return;
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
  reinterpret_cast<EntropyDecoder*>(info.entropy)->decode_mcu = decode_mcu;
}

}  // namespace penstock::codec
