// Verbs and decode options, from the dicts that Recipe.native() and Decode.native() give.
#include "python.h"

namespace penstock {
namespace {

Filter filter_from(const std::string& name) {
  return word<Filter>("filter", name,
                      {{"nearest", Filter::nearest},
                       {"box", Filter::box},
                       {"bilinear", Filter::bilinear},
                       {"hamming", Filter::hamming},
                       {"bicubic", Filter::bicubic},
                       {"lanczos", Filter::lanczos}});
}

}  // namespace

// Verbs as Recipe.native() gives them: a dict each, with only the fields that the verb has.
std::vector<Verb> verbs_from(const nb::list& list) {
  std::vector<Verb> verbs;
  for (nb::handle item : list) {
    nb::dict dict = nb::cast<nb::dict>(item);
    auto text = [&](const char* key, const char* otherwise) {
      return dict.contains(key) ? nb::cast<std::string>(dict[key]) : std::string(otherwise);
    };
    auto number = [&](const char* key) { return dict.contains(key) ? nb::cast<int>(dict[key]) : 0; };
    Verb verb;
    verb.kind = word<Verb::Kind>("verb", text("kind", ""),
                                 {{"resize", Verb::Kind::resize},
                                  {"resize_short_side", Verb::Kind::resize_short_side},
                                  {"resize_long_side", Verb::Kind::resize_long_side},
                                  {"resize_patches", Verb::Kind::resize_patches},
                                  {"center_crop", Verb::Kind::center_crop},
                                  {"crop", Verb::Kind::crop},
                                  {"pad", Verb::Kind::pad},
                                  {"pad_to", Verb::Kind::pad_to},
                                  {"pad_to_multiple", Verb::Kind::pad_to_multiple},
                                  {"warp", Verb::Kind::warp},
                                  {"jpeg_roundtrip", Verb::Kind::jpeg_roundtrip},
                                  {"random_resized_crop", Verb::Kind::random_resized_crop},
                                  {"random_crop", Verb::Kind::random_crop},
                                  {"random_horizontal_flip", Verb::Kind::random_horizontal_flip},
                                  {"random_vertical_flip", Verb::Kind::random_vertical_flip},
                                  {"random_rotate90", Verb::Kind::random_rotate90},
                                  {"random_color_jitter", Verb::Kind::random_color_jitter},
                                  {"random_grayscale", Verb::Kind::random_grayscale},
                                  {"random_erasing", Verb::Kind::random_erasing},
                                  {"rand_augment", Verb::Kind::rand_augment},
                                  {"trivial_augment", Verb::Kind::trivial_augment},
                                  {"random_affine", Verb::Kind::random_affine}});
    verb.fit = word<Verb::Fit>("fit", text("fit", "fill"),
                               {{"fill", Verb::Fit::fill},
                                {"cover", Verb::Fit::cover},
                                {"contain", Verb::Fit::contain},
                                {"inside", Verb::Fit::inside}});
    verb.rounding = word<Verb::Rounding>("rounding", text("rounding", "even"),
                                         {{"even", Verb::Rounding::even},
                                          {"floor", Verb::Rounding::floor},
                                          {"ceil", Verb::Rounding::ceil},
                                          {"start", Verb::Rounding::start}});
    verb.filter = filter_from(text("filter", "bilinear"));
    verb.pad_mode = word<PadMode>("pad_mode", text("pad_mode", "constant"),
                                  {{"constant", PadMode::constant},
                                   {"edge", PadMode::edge},
                                   {"reflect", PadMode::reflect},
                                   {"symmetric", PadMode::symmetric}});
    verb.enlarge = !dict.contains("enlarge") || nb::cast<bool>(dict["enlarge"]);
    verb.float32 = text("precision", "uint8") == "float32";
    verb.height = number("height");
    verb.width = number("width");
    verb.ordinal = number("ordinal");
    if (dict.contains("p")) verb.p = nb::cast<std::vector<double>>(dict["p"]);
    if (dict.contains("fill")) {
      std::vector<int> fill = nb::cast<std::vector<int>>(dict["fill"]);
      for (size_t i = 0; i < fill.size() && i < 4; ++i) verb.fill[i] = static_cast<uint8_t>(fill[i]);
    }
    verbs.push_back(verb);
  }
  return verbs;
}

// decode(...) as Decode.native() gives it.
DecodeOptions decode_options_from(const nb::dict& dict) {
  DecodeOptions options;
  options.mode = word<DecodeOptions::Mode>(
      "mode", nb::cast<std::string>(dict["mode"]),
      {{"rgb", DecodeOptions::Mode::rgb}, {"grey", DecodeOptions::Mode::grey}, {"rgba", DecodeOptions::Mode::rgba}});
  options.composite = nb::cast<bool>(dict["composite"]);
  std::vector<int> background = nb::cast<std::vector<int>>(dict["background"]);
  for (size_t i = 0; i < background.size() && i < 3; ++i) {
    options.background[i] = static_cast<uint8_t>(background[i]);
  }
  options.depth = word<DecodeOptions::Depth>("depth", nb::cast<std::string>(dict["depth"]),
                                             {{"eight", DecodeOptions::Depth::eight},
                                              {"sixteen", DecodeOptions::Depth::sixteen},
                                              {"scale", DecodeOptions::Depth::scale}});
  options.srgb = nb::cast<bool>(dict["srgb"]);
  options.fast = nb::cast<bool>(dict["fast"]);
  return options;
}

}  // namespace penstock
