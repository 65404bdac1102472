/* Says which spectra of an image do not fit the rest, and writes their scores.
 *
 *     score IMAGE HEIGHT WIDTH CHANNELS OFFSET DISPERSION MODEL SCORES
 *
 * IMAGE: a file of float32 numbers, (y, x, energy) in C order. OFFSET and DISPERSION: of the energies, eV.
 * MODEL: a run folder or checkpoint of eelsvae-train, or one of mean, pca:auto and rx:auto. SCORES: a file of
 * float32, (y, x), that is written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <eelsvae/eelsvae.h>

/* The first `count` numbers of a file, to be given back with free(); NULL if it has not so many. */
static float* read_floats(const char* path, size_t count) {
  float* values = malloc(count * sizeof *values);
  FILE* file = fopen(path, "rb");
  const size_t read = values && file ? fread(values, sizeof *values, count, file) : 0;
  if (file) fclose(file);
  if (read == count) return values;
  free(values);
  return NULL;
}

static int write_floats(const char* path, const float* values, size_t count) {
  FILE* file = fopen(path, "wb");
  if (!file) return 0;
  const size_t written = fwrite(values, sizeof *values, count, file);
  return fclose(file) == 0 && written == count;
}

static int is_baseline(const char* name) {
  return strcmp(name, "mean") == 0 || strncmp(name, "pca", 3) == 0 || strncmp(name, "rx", 2) == 0;
}

static eelsvae_status make_session(const char* name, eelsvae_session** session) {
  if (is_baseline(name)) return eelsvae_session_create_baseline(name, NULL, NULL, session);
  eelsvae_model* model = NULL;
  eelsvae_status status = eelsvae_model_open(name, &model);
  if (status == EELSVAE_OK) status = eelsvae_session_create(model, NULL, NULL, session);
  eelsvae_model_destroy(model); /* the session keeps what it needs of it */
  return status;
}

static eelsvae_status tell(const eelsvae_detection* found) {
  int64_t anomalous = 0, scored = 0, regions = 0, reasons = 0;
  double threshold = 0;
  eelsvae_status status = eelsvae_detection_pixels(found, &anomalous, &scored);
  if (status == EELSVAE_OK) status = eelsvae_detection_threshold(found, &threshold);
  if (status == EELSVAE_OK) status = eelsvae_detection_regions(found, &regions);
  if (status == EELSVAE_OK) status = eelsvae_detection_trusted(found, NULL, &reasons);
  if (status != EELSVAE_OK) return status;
  printf("%lld of %lld spectra do not fit (score above %.9g)\n", (long long)anomalous, (long long)scored,
         threshold);
  for (int64_t i = 0; i < regions && i < 3; ++i) {
    eelsvae_region region = {0};
    region.struct_size = sizeof region;
    if ((status = eelsvae_detection_region(found, i, &region)) != EELSVAE_OK) return status;
    printf("%lld pixels around (%lld, %lld): %s\n", (long long)region.pixels, (long long)region.y,
           (long long)region.x, region.explanation);
  }
  for (int64_t i = 0; i < reasons; ++i) {
    const char* reason = "";
    if ((status = eelsvae_detection_reason(found, i, &reason)) != EELSVAE_OK) return status;
    printf("Not to be trusted: %s\n", reason);
  }
  return EELSVAE_OK;
}

int main(int argc, char** argv) {
  if (argc != 9) {
    fprintf(stderr, "usage: %s IMAGE HEIGHT WIDTH CHANNELS OFFSET DISPERSION MODEL SCORES\n", argv[0]);
    return 2;
  }
  eelsvae_image image;
  eelsvae_image_init(&image, sizeof image);
  for (int i = 0; i < 3; ++i) image.shape[i] = strtoll(argv[2 + i], NULL, 10);
  image.energy_offset = strtod(argv[5], NULL);
  image.dispersion = strtod(argv[6], NULL);
  image.type = EELSVAE_FLOAT32;
  const size_t pixels = (size_t)(image.shape[0] * image.shape[1]);
  float* counts = read_floats(argv[1], pixels * (size_t)image.shape[2]);
  float* scores = malloc(pixels * sizeof *scores);
  if (!counts || !scores) {
    fprintf(stderr, "%s: does not hold so many numbers\n", argv[1]);
    free(counts);
    free(scores);
    return 1;
  }
  image.data = counts;

  eelsvae_session* session = NULL;
  eelsvae_detection* found = NULL;
  eelsvae_status status = make_session(argv[7], &session);
  if (status == EELSVAE_OK) status = eelsvae_session_detect(session, &image, &found);
  if (status == EELSVAE_OK) status = eelsvae_detection_scores(found, scores, pixels);
  if (status == EELSVAE_OK) status = tell(found);
  int result = status == EELSVAE_OK ? 0 : 1;
  if (result != 0) {
    fprintf(stderr, "%s\n", eelsvae_last_message());
  } else if (!write_floats(argv[8], scores, pixels)) {
    fprintf(stderr, "cannot write %s\n", argv[8]);
    result = 1;
  }
  eelsvae_detection_destroy(found);
  eelsvae_session_destroy(session);
  free(scores);
  free(counts);
  return result;
}
