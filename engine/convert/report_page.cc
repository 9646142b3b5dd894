#include "engine/convert/report_page.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

namespace transmla {
namespace {

// Of a plot's inside, in pixels, and of the margin that holds its labels.
constexpr double kWidth = 640;
constexpr double kHeight = 220;
constexpr double kMargin = 48;

constexpr absl::string_view kHead =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<title>Conversion report</title>\n<style>\n"
    "body { font-family: sans-serif; max-width: 760px; margin: 2em auto; color: #222; }\n"
    "table { border-collapse: collapse; }\n"
    "td, th { padding: 2px 14px 2px 0; text-align: left; }\n"
    "svg text { font-size: 11px; fill: #444; }\n"
    "</style>\n</head>\n<body>\n<h1>Conversion report</h1>\n";

std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

void AppendRow(absl::string_view name, absl::string_view value, std::string* page) {
  absl::StrAppend(page, "<tr><th>", name, "</th><td>", Escaped(value), "</td></tr>\n");
}

// A plot, with what `body` draws inside; `mark` names a height, 0 to 1 from bottom to top.
void AppendPlot(
    absl::string_view title, absl::string_view bottom, absl::string_view body, std::string* page,
    const std::function<std::string(double)>& mark = [](double height) {
      return absl::StrFormat("%g %%", 100 * height);
    }) {
  absl::StrAppendFormat(page, "<h2>%s</h2>\n<svg width=\"%g\" height=\"%g\" role=\"img\">\n", title,
                        kWidth + 2 * kMargin, kHeight + 2 * kMargin);
  for (const double height : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    const double y = kMargin + kHeight * (1 - height);
    absl::StrAppendFormat(page,
                          "<line x1=\"%g\" y1=\"%g\" x2=\"%g\" y2=\"%g\" stroke=\"#ddd\"/>"
                          "<text x=\"%g\" y=\"%g\" text-anchor=\"end\">%s</text>\n",
                          kMargin, y, kMargin + kWidth, y, kMargin - 6, y + 4, mark(height));
  }
  absl::StrAppend(page, body);
  absl::StrAppendFormat(page, "<text x=\"%g\" y=\"%g\" text-anchor=\"middle\">%s</text>\n</svg>\n",
                        kMargin + kWidth / 2, kHeight + kMargin + 34, bottom);
}

struct Series {
  absl::string_view name;
  absl::string_view color;
  std::vector<double> shares;  // a layer
};

// Bars side by side, a group of them for each layer.
void AppendBars(absl::string_view title, const std::vector<Series>& all, std::string* page) {
  const auto layers = static_cast<double>(all[0].shares.size());
  const double step = kWidth / layers, width = 0.8 * step / static_cast<double>(all.size());
  std::string body;
  for (size_t s = 0; s < all.size(); ++s) {
    for (size_t layer = 0; layer < all[s].shares.size(); ++layer) {
      const double height = kHeight * std::clamp(all[s].shares[layer], 0.0, 1.0);
      absl::StrAppendFormat(
          &body,
          "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\">"
          "<title>layer %d, %s: %.2f %%</title></rect>\n",
          kMargin + static_cast<double>(layer) * step + static_cast<double>(s) * width,
          kMargin + kHeight - height, width, height, all[s].color, layer, all[s].name,
          100 * all[s].shares[layer]);
    }
    absl::StrAppendFormat(&body,
                          "<rect x=\"%g\" y=\"8\" width=\"10\" height=\"10\" fill=\"%s\"/>"
                          "<text x=\"%g\" y=\"17\">%s</text>\n",
                          kMargin + 180.0 * static_cast<double>(s), all[s].color,
                          kMargin + 180.0 * static_cast<double>(s) + 14, all[s].name);
  }
  AppendPlot(title, absl::StrFormat("layer, 0 to %d", all[0].shares.size() - 1), body, page);
}

// A line a layer, early layers dark, and a mark at the rank that was chosen.
void AppendSpectra(const ConversionReport& report, std::string* page) {
  std::string body;
  for (const LayerReport& layer : report.layers) {
    if (layer.cost_left.size() < 2) continue;
    std::string points;
    const double step = kWidth / static_cast<double>(layer.cost_left.size() - 1);
    for (size_t i = 0; i < layer.cost_left.size(); ++i)
      absl::StrAppendFormat(&points, "%.1f,%.1f ", kMargin + static_cast<double>(i) * step,
                            kMargin + kHeight * (1 - layer.cost_left[i]));
    absl::StrAppendFormat(&body,
                          "<polyline points=\"%s\" fill=\"none\" stroke=\"hsl(215,60%%,%d%%)\">"
                          "<title>layer %d</title></polyline>\n",
                          points, 25 + 50 * layer.layer / std::max(1, report.num_layers),
                          layer.layer);
  }
  if (body.empty()) return;
  if (report.latent_width > 0) {
    const double x = kMargin + kWidth * report.kv_lora_rank / report.latent_width;
    absl::StrAppendFormat(&body,
                          "<line x1=\"%.1f\" y1=\"%g\" x2=\"%.1f\" y2=\"%g\" stroke=\"#c33\"/>"
                          "<text x=\"%.1f\" y=\"%g\">rank %d</text>\n",
                          x, kMargin, x, kMargin + kHeight, x + 4, kMargin + 12,
                          report.kv_lora_rank);
  }
  AppendPlot("Cost that a latent leaves, by its rank",
             absl::StrFormat("rank, 0 to %d; a line a layer", report.latent_width), body, page);
}

// Perplexity over the source's, on a scale of logarithms, by cache ratio.
void AppendRatios(absl::string_view title, std::vector<RatioReport> ratios, std::string* page) {
  if (ratios.empty()) return;
  std::sort(ratios.begin(), ratios.end(), [](const RatioReport& a, const RatioReport& b) {
    return a.cache_ratio < b.cache_ratio;
  });
  const auto rise = [](const RatioReport& ratio) {
    return std::log(ratio.quality.perplexity_after / ratio.quality.perplexity_before);
  };
  double most = 1e-3;
  for (const RatioReport& ratio : ratios) most = std::max(most, rise(ratio));
  std::string points, marks;
  for (const RatioReport& ratio : ratios) {
    const double x = kMargin + kWidth * ratio.cache_ratio;
    const double y = kMargin + kHeight * (1 - std::clamp(rise(ratio) / most, 0.0, 1.0));
    absl::StrAppendFormat(&points, "%.1f,%.1f ", x, y);
    absl::StrAppendFormat(
        &marks,
        "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"#36c\"><title>ratio %.4f: "
        "perplexity %.4f, KL %.5f</title></circle>\n"
        "<text x=\"%.1f\" y=\"%g\" text-anchor=\"middle\">%.3g</text>\n",
        x, y, ratio.cache_ratio, ratio.quality.perplexity_after, ratio.quality.kl_divergence, x,
        kMargin + kHeight + 16, ratio.cache_ratio);
  }
  AppendPlot(
      title, "cache of the result over the source's",
      absl::StrCat("<polyline points=\"", points, "\" fill=\"none\" stroke=\"#36c\"/>\n", marks),
      page, [most](double height) {
        return absl::StrFormat("+%.3g %%", 100 * (std::exp(height * most) - 1));
      });
}

void AppendFacts(const ConversionReport& report, std::string* page) {
  absl::StrAppend(page, "<table>\n");
  AppendRow("source", report.source, page);
  AppendRow("result", report.destination, page);
  AppendRow("recipe", absl::StrCat(report.recipe, ", family ", report.family), page);
  AppendRow("attention",
            absl::StrFormat("latent %d, rope key %d, in each of %d layers", report.kv_lora_rank,
                            report.qk_rope_head_dim, report.num_layers),
            page);
  AppendRow("cache",
            absl::StrFormat("%d bytes a token before, %d after (%.1f %%)",
                            report.cache_bytes_per_token_before, report.cache_bytes_per_token_after,
                            100.0 * static_cast<double>(report.cache_bytes_per_token_after) /
                                static_cast<double>(report.cache_bytes_per_token_before)),
            page);
  if (report.calibration_tokens > 0)
    AppendRow("calibration",
              absl::StrCat(report.calibration_tokens, " tokens, ", report.calibration_source),
              page);
  if (report.recovery)
    AppendRow(
        "recovery",
        absl::StrFormat("%d tokens, KL from %.4f to %.4f nats a token", report.recovery->tokens,
                        report.recovery->kl_first, report.recovery->kl_last),
        page);
  if (report.quality) {
    const QualityReport& quality = *report.quality;
    AppendRow("perplexity",
              absl::StrFormat("%.4f before, %.4f after (%d tokens)", quality.perplexity_before,
                              quality.perplexity_after, quality.tokens),
              page);
    AppendRow("KL divergence", absl::StrFormat("%.5f nats a token", quality.kl_divergence), page);
    AppendRow("greedy agreement", absl::StrFormat("%.2f %%", 100 * quality.greedy_agreement), page);
  }
  AppendRow("took",
            absl::StrFormat("%.1f s, %.0f MB of memory at most", report.seconds,
                            static_cast<double>(report.peak_memory_bytes) / 1e6),
            page);
  absl::StrAppend(page, "</table>\n");
}

}  // namespace

std::string ReportPage(const ConversionReport& report) {
  std::string page(kHead);
  AppendFacts(report, &page);
  if (!report.layers.empty()) {
    Series keys{.name = "position-free keys", .color = "#36c", .shares = {}};
    Series values{.name = "values", .color = "#e80", .shares = {}};
    Series rope{.name = "energy of keys that keeps RoPE", .color = "#383", .shares = {}};
    for (const LayerReport& layer : report.layers) {
      keys.shares.push_back(layer.key_error);
      values.shares.push_back(layer.value_error);
      rope.shares.push_back(layer.rope_key_energy_kept);
    }
    AppendBars("Relative error behind the latent", {keys, values}, &page);
    AppendBars("What keeps RoPE", {rope}, &page);
    AppendSpectra(report, &page);
  }
  AppendRatios("Perplexity over the source's, on the evaluation text", report.compared, &page);
  AppendRatios("Perplexity over the source's, on the text that chose the ratio", report.tried,
               &page);
  absl::StrAppend(&page, "</body>\n</html>\n");
  return page;
}

}  // namespace transmla
