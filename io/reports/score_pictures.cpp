#include "io/reports/score_pictures.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>

#include <cairo/cairo.h>

#include "engine/image/excluded.h"
#include "io/files/atomic_file.h"
#include "io/files/number_text.h"
#include "io/reports/map_style.h"
#include "io/reports/score_histogram.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

// Okabe and Ito's blue, vermilion and green, as in the report.
constexpr Colour white = {255, 255, 255}, ink = {34, 34, 34}, grid = {228, 231, 234},
                 no_value = {160, 160, 160}, no_counts = {245, 245, 245}, normal = {0, 114, 178},
                 anomalous = {213, 94, 0}, null_colour = {0, 158, 115};

template <auto destroy>
struct Destroyed {
  void operator()(auto* thing) const { destroy(thing); }
};
using Surface = std::unique_ptr<cairo_surface_t, Destroyed<cairo_surface_destroy>>;
using Context = std::unique_ptr<cairo_t, Destroyed<cairo_destroy>>;

// Something drawn in pixels, x to the right and y downwards, wherever it lies.
class Picture {
 public:
  Picture() {
    cairo_select_font_face(context(), "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(context(), 17);
  }
  cairo_t* context() const { return context_.get(); }

  void set(Colour colour) {
    cairo_set_source_rgb(context(), colour[0] / 255.0, colour[1] / 255.0, colour[2] / 255.0);
  }
  // A rectangle with its upper left corner at (x, y), of whole pixels.
  void fill(double x, double y, double width, double height, Colour colour) {
    const double left = std::round(x), top = std::round(y);
    set(colour);
    cairo_rectangle(context(), left, top, std::round(x + width) - left, std::round(y + height) - top);
    cairo_fill(context());
  }
  // A line of text about the height y; `before`: the share of its width that lies to the left of x.
  void write(double x, double y, const std::string& text, double before = 0) {
    cairo_text_extents_t extents;
    cairo_text_extents(context(), text.c_str(), &extents);
    set(ink);
    cairo_move_to(context(), std::round(x - before * extents.x_advance), std::round(y + 6));
    cairo_show_text(context(), text.c_str());
  }

  // What was drawn, with a white margin, as a PNG file.
  void save(const std::filesystem::path& path) const {
    constexpr double margin = 16;
    double x, y, width, height;
    cairo_recording_surface_ink_extents(drawn_.get(), &x, &y, &width, &height);
    const double left = std::floor(x) - margin, top = std::floor(y) - margin;
    const Surface image(cairo_image_surface_create(CAIRO_FORMAT_RGB24,
                                                   static_cast<int>(std::ceil(x + width + margin - left)),
                                                   static_cast<int>(std::ceil(y + height + margin - top))));
    const Context page(cairo_create(image.get()));
    cairo_set_source_rgb(page.get(), 1, 1, 1);
    cairo_paint(page.get());
    cairo_set_source_surface(page.get(), drawn_.get(), -left, -top);
    cairo_paint(page.get());
    std::string bytes;
    const auto append = [](void* to, const unsigned char* data, unsigned size) {
      static_cast<std::string*>(to)->append(reinterpret_cast<const char*>(data), size);
      return CAIRO_STATUS_SUCCESS;
    };
    if (const cairo_status_t status = cairo_surface_write_to_png_stream(image.get(), append, &bytes))
      throw std::runtime_error(std::string("cairo: ") + cairo_status_to_string(status));
    write_file(path, bytes);
  }

 private:
  Surface drawn_{cairo_recording_surface_create(CAIRO_CONTENT_COLOR_ALPHA, nullptr)};
  Context context_{cairo_create(drawn_.get())};
};

// The map's pixels as blocks of width w and height h.
void draw_blocks(Picture& picture, const SpectrumImage& image, const std::vector<float>& scores,
                 std::array<double, 2> limits, double w, double h) {
  const Surface blocks(cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(image.x.size),
                                                  static_cast<int>(image.y.size)));
  unsigned char* row = cairo_image_surface_get_data(blocks.get());
  for (int64_t y = 0; y < image.y.size; ++y, row += cairo_image_surface_get_stride(blocks.get()))
    for (int64_t x = 0; x < image.x.size; ++x) {
      const auto pixel = static_cast<size_t>(y * image.x.size + x);
      const bool aside = !image.excluded.empty() && (image.excluded[pixel] & set_aside) != 0;
      const double score = scores[pixel],
                   share = std::clamp((score - limits[0]) / (limits[1] - limits[0]), 0.0, 1.0);
      const Colour colour = std::isfinite(score) ? viridis()[std::lround(255 * share)]
                            : aside              ? no_counts
                                                 : no_value;
      reinterpret_cast<uint32_t*>(row)[x] =
          static_cast<uint32_t>(colour[0]) << 16 | static_cast<uint32_t>(colour[1]) << 8 | colour[2];
    }
  cairo_surface_mark_dirty(blocks.get());
  cairo_save(picture.context());
  cairo_scale(picture.context(), w, h);
  cairo_set_source_surface(picture.context(), blocks.get(), 0, 0);
  cairo_pattern_set_filter(cairo_get_source(picture.context()), CAIRO_FILTER_NEAREST);
  cairo_rectangle(picture.context(), 0, 0, static_cast<double>(image.x.size),
                  static_cast<double>(image.y.size));
  cairo_fill(picture.context());
  cairo_restore(picture.context());
}

void draw_outline(Picture& picture, const SpectrumImage& image, const std::vector<uint8_t>& mask, double w,
                  double h) {
  const int64_t rows = image.y.size, columns = image.x.size;
  auto inside = [&](int64_t y, int64_t x) {
    return y >= 0 && x >= 0 && y < rows && x < columns && mask[static_cast<size_t>(y * columns + x)] != 0;
  };
  // White first, a pixel beyond the block, so that no dark line is broken where two outlines meet. Small
  // blocks keep their colour whole.
  for (const auto& [colour, out] : {std::pair{white, 1.0}, {ink, 0.0}}) {
    if (colour == ink && std::min(w, h) < 4) break;
    for (int64_t y = 0; y < rows; ++y)
      for (int64_t x = 0; x < columns; ++x) {
        if (!inside(y, x)) continue;
        const double left = static_cast<double>(x) * w - out, top = static_cast<double>(y) * h - out,
                     width = w + 2 * out, height = h + 2 * out;
        if (!inside(y - 1, x)) picture.fill(left, top, width, 1, colour);
        if (!inside(y + 1, x)) picture.fill(left, top + height - 1, width, 1, colour);
        if (!inside(y, x - 1)) picture.fill(left, top, 1, height, colour);
        if (!inside(y, x + 1)) picture.fill(left + width - 1, top, 1, height, colour);
      }
  }
}

}  // namespace

void write_score_map(const std::filesystem::path& path, const SpectrumImage& image, const Detection& found) {
  const std::array<double, 2> limits = map_limits(found.scores, found.mask, found.threshold);
  // A block is at most 64 pixels, so that a handful of values is not a poster; a line scan is at least 48
  // tall.
  const auto rows = static_cast<double>(image.y.size), columns = static_cast<double>(image.x.size);
  const double aspect = pixel_aspect(image.y, image.x),
               w = std::clamp(std::floor(720 / std::max(columns, rows * aspect)), 1.0, 64.0),
               h = std::max(std::clamp(std::round(w * aspect), 1.0, 64.0), std::ceil(48 / rows));
  Picture picture;
  draw_blocks(picture, image, found.scores, limits, w, h);
  draw_outline(picture, image, found.mask, w, h);

  const double left = columns * w + 16, height = rows * h;
  auto height_of = [&](double score) {
    return (height - 1) * (1 - (score - limits[0]) / (limits[1] - limits[0]));
  };
  for (double y = 0; y < height; ++y)
    picture.fill(left, y, 18, 1, viridis()[std::lround(255 * (1 - y / (height - 1)))]);
  if (found.threshold >= limits[0] && found.threshold <= limits[1]) {
    picture.fill(left, height_of(found.threshold) - 2, 18, 4, white);
    picture.fill(left - 6, height_of(found.threshold) - 1, 24, 2, ink);
  }
  for (double score : round_values(limits, static_cast<int>(std::clamp(height / 60, 1.0, 6.0)))) {
    picture.fill(left + 18, height_of(score), 6, 1, ink);
    picture.write(left + 28, height_of(score), number_text(score));
  }
  const ScaleBar bar = scale_bar(image.x);
  const double length = std::max(1.0, std::round(bar.pixels * w));
  picture.fill(0, height + 22, length, 6, ink);
  picture.write(length + 10, height + 25, bar.label);
  picture.save(path);
}

void write_score_histogram(const std::filesystem::path& path, const Detection& found) {
  const ScoreHistogram histogram = score_histogram(found);
  constexpr double bar = 9, height = 360, least = 0.7;  // spectra at the bottom
  const double width = bar * static_cast<double>(histogram.counts.size());
  double most = static_cast<double>(*std::ranges::max_element(histogram.counts));
  const double at_most = 10 * most;  // a null that is far off does not flatten the bars
  for (const auto& [score, count] : histogram.null) most = std::max(most, std::min(count, at_most));
  most = 1.3 * std::max(most, 9.0);
  auto x_of = [&](double score) {
    return width * (score - histogram.low) / (histogram.high - histogram.low);
  };
  auto y_of = [&](double count) {
    return height * (1 - std::log(std::max(count, 1e-9) / least) / std::log(most / least));
  };

  Picture picture;
  for (double decade = 1; decade <= most; decade *= 10) {
    picture.fill(-6, y_of(decade), 6, 1, ink);
    picture.fill(0, y_of(decade), width, 1, grid);
    picture.write(-10, y_of(decade), number_text(decade), 1);
  }
  for (double score : round_values({histogram.low, histogram.high}, 7)) {
    picture.fill(x_of(score), 0, 1, height, grid);
    picture.fill(x_of(score), height, 1, 6, ink);
    picture.write(x_of(score), height + 20, number_text(score), 0.5);
  }
  picture.write(0, -20, "spectra", 1);
  picture.write(width / 2, height + 46, "score", 0.5);
  const double bin = (histogram.high - histogram.low) / static_cast<double>(histogram.counts.size());
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    if (histogram.counts[i] == 0) continue;
    const double top = y_of(static_cast<double>(histogram.counts[i])), place = static_cast<double>(i);
    picture.fill(place * bar, top, bar - 1, height - top,
                 histogram.low + (place + 0.5) * bin > found.threshold ? anomalous : normal);
  }
  cairo_t* context = picture.context();
  cairo_save(context);
  cairo_rectangle(context, 0, 0, width, height);
  cairo_clip(context);
  for (const auto& [score, count] : histogram.null) cairo_line_to(context, x_of(score), y_of(count));
  picture.set(null_colour);
  cairo_set_line_width(context, 2);
  cairo_stroke(context);
  cairo_restore(context);
  picture.fill(0, height, width, 1, ink);
  picture.fill(0, 0, 1, height, ink);
  if (found.threshold >= histogram.low && found.threshold <= histogram.high) {
    const double x = x_of(found.threshold);
    const bool to_left = x > width / 2;  // the side that has room
    picture.fill(x - 1, -8, 2, height + 8, ink);
    picture.write(x + (to_left ? -8 : 8), -9, "threshold " + number_text(found.threshold), to_left);
  }
  picture.save(path);
}

}  // namespace eelsvae
